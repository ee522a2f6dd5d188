//! Tickets: a server's word to one participant that another one asked it for the address.
//!
//! `expires-MAC`: seconds since 1970, and the HMAC-SHA256 in hex over who asks, whom for, and when
//! it expires. Its key is the SHA-256 of the receiver's key, which server and receiver know, and
//! nobody else.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::values::Name;
use crate::values::parse_digits;

fn mac(key_hash: &[u8; 32], from: &Name, to: &Name, expires: u64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key_hash).expect("a key of any length is taken");
    mac.update(format!("{from};{to};{expires}").as_bytes());
    mac
}

/// A ticket for `from`, who wants to talk to `to`.
#[must_use]
pub fn make(key_hash: &[u8; 32], from: &Name, to: &Name, expires: u64) -> String {
    let code = mac(key_hash, from, to, expires).finalize().into_bytes();
    let hex: String = code.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{expires}-{hex}")
}

/// Whether a ticket says that `from` may talk to `to` at `now`, in seconds since 1970.
#[must_use]
pub fn is_right(ticket: &str, key_hash: &[u8; 32], from: &Name, to: &Name, now: u64) -> bool {
    let Some((expires, code)) = ticket.split_once('-') else { return false };
    let Some(expires) = parse_digits(expires, 20).filter(|expires| *expires >= now) else {
        return false;
    };
    let pairs = code.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> =
        pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect();
    // In constant time: how far a forged one is right is nobody's business.
    bytes.is_some_and(|code| mac(key_hash, from, to, expires).verify_slice(&code).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_of_one_sender_to_one_receiver_for_a_while() {
        let [ana, leo] = ["ana", "leo"].map(|name| name.parse::<Name>().unwrap());
        let (key, other) = ([7; 32], [8; 32]);
        let ticket = make(&key, &ana, &leo, 100);
        assert!(is_right(&ticket, &key, &ana, &leo, 100));
        assert!(!is_right(&ticket, &key, &ana, &leo, 101), "it has expired");
        assert!(!is_right(&ticket, &key, &leo, &ana, 100));
        assert!(!is_right(&ticket, &other, &ana, &leo, 100));
        let later = ticket.replace("100-", "200-");
        for forged in [later.as_str(), "", "100", "100-", "100-zz", "x-00"] {
            assert!(!is_right(forged, &key, &ana, &leo, 100), "{forged}");
        }
    }
}
