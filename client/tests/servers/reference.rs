//! An imitation of a server of the reference system, from its observed behaviour.
//!
//! It reads one packet of a connection, answers, and closes the connection itself. It accepts bets
//! in one form only, `StoreBatch:agency:first;…;number:…`, and answers the other form with
//! `StoreResponse:1`. It has no answer to `AgencyClose`. It answers `WinnersRequest` when the draw
//! is held. It closes the connection without a byte on a packet that it does not know.
//!
//! **Invariant**: it shares no code with `protocol`. Our parser accepts more than that server
//! does, so a test against our parser would prove nothing.

use std::net::{IpAddr, SocketAddr};

use crate::scripted::{self, Answerer, Script};

/// The fields of a bet: first name, last name, document, birthdate, number.
pub type Fields<'p> = [&'p str; 5];

/// The bets and closes that the servers of a lottery share.
pub trait ReferenceStore: Send + Sync + 'static {
    /// Notes a packet.
    fn received(&self, packet: &str);

    /// Stores these bets after the stored ones.
    fn store(&self, agency: u32, bets: &[Fields<'_>]) -> impl Future<Output = ()> + Send;

    /// Stores that the agency has closed.
    fn close(&self, agency: u32);

    /// Waits for the draw and returns the winners' documents, with `;` between them.
    fn winners(&self, agency: u32) -> impl Future<Output = String> + Send;
}

/// Serves on a free port of `ip` until the runtime ends. It does wrong what the script says.
pub async fn serve(ip: IpAddr, store: impl ReferenceStore, script: Script) -> SocketAddr {
    scripted::serve(ip, Reference(store), script, true).await
}

struct Reference<S>(S);

impl<S: ReferenceStore> Answerer for Reference<S> {
    fn received(&self, packet: &str) {
        self.0.received(packet);
    }

    async fn answer(&self, packet: &str) -> Option<String> {
        let Self(store) = self;
        match packet.split_once(':')? {
            ("StoreBatch", body) => {
                let Some((agency, bets)) = batch(body) else {
                    return Some("StoreResponse:1\n".to_owned());
                };
                store.store(agency, &bets).await;
                Some("StoreResponse:0\n".to_owned())
            }
            ("AgencyClose", agency) => {
                store.close(agency.parse().ok()?);
                Some(String::new())
            }
            ("WinnersRequest", agency) => {
                let documents = store.winners(agency.parse().ok()?).await;
                Some(format!("WinnersResponse:{documents}\n"))
            }
            _ => None,
        }
    }
}

/// `agency:first;last;document;birthdate;number:first;…`; `None` for any other form.
fn batch(body: &str) -> Option<(u32, Vec<Fields<'_>>)> {
    let (agency, bets) = body.split_once(':')?;
    Some((agency.parse().ok()?, bets.split(':').map(fields).collect::<Option<_>>()?))
}

fn fields(bet: &str) -> Option<Fields<'_>> {
    bet.split(';').collect::<Vec<_>>().try_into().ok()
}
