//! What stands between clients and servers: proxies, their addresses and names, and the datagrams.

pub mod datagrams;
pub mod entry_points;
pub mod names;
pub mod proxy;
