//! Finds the number of this container among the replicas of its Compose service.
//!
//! Compose names the containers of a service `project-service-1`, `project-service-2`, …. A
//! container does not know its name, because its host name is its id. But Docker's resolver answers
//! a PTR query for a container's address with the name: `project-service-2.project_network`.
//!
//! Asks no other resolver, so that no query is sent outside Docker. The number is only a
//! preference: a failure is logged at DEBUG and means that the number is unknown.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context as _, bail};
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, TYPE};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tracing::debug;

use crate::limits::{NAME_ANSWER_BYTES_MAX, NAME_QUERY_INTERVAL, NAME_TIMEOUT, OWN_ADDRESSES_MAX};

/// The file that names a system's resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Docker's resolver, which each container of a Compose network has, and no other system.
const DOCKER_RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The port of DNS.
const DNS_PORT: u16 = 53;

/// The number of this container, or `None` if it is unknown. Takes [`NAME_TIMEOUT`] at most.
pub async fn number() -> Option<u32> {
    match find().await {
        Ok(number) => {
            debug!(action = "replica", result = "success", number);
            Some(number)
        }
        Err(error) => {
            let error = format!("{error:#}");
            debug!(action = "replica", result = "fail", error);
            None
        }
    }
}

async fn find() -> anyhow::Result<u32> {
    let text = fs::read_to_string(RESOLV_CONF).with_context(|| format!("read {RESOLV_CONF}"))?;
    let resolver = docker_resolver(&text).context("the resolver is not Docker's")?;
    let addresses = own_addresses().context("list the interfaces")?;
    number_of(&addresses, resolver).await
}

/// Docker's resolver, if it is the first one in this `resolv.conf`.
fn docker_resolver(resolv_conf: &str) -> Option<SocketAddr> {
    let mut words = resolv_conf.lines().map(str::split_ascii_whitespace);
    let first = words.find_map(|mut words| match words.next() {
        Some("nameserver") => words.next(),
        _ => None,
    });
    let is_docker = first?.parse() == Ok(DOCKER_RESOLVER);
    is_docker.then_some((DOCKER_RESOLVER, DNS_PORT).into())
}

fn own_addresses() -> io::Result<Vec<Ipv4Addr>> {
    let found = if_addrs::get_if_addrs()?.into_iter().filter(|found| !found.is_loopback());
    let addresses = found.filter_map(|found| match found.ip() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    Ok(addresses.take(OWN_ADDRESSES_MAX).collect())
}

/// The number in a name of `addresses`, within [`NAME_TIMEOUT`]. Asks for the names of all of them
/// at once, so that one without an answer does not delay the others.
async fn number_of(addresses: &[Ipv4Addr], resolver: SocketAddr) -> anyhow::Result<u32> {
    let searches = addresses.iter().map(|address| number_of_one(*address, resolver));
    let mut searches: JoinSet<anyhow::Result<Option<u32>>> = searches.collect();
    let first = async {
        while let Some(ended) = searches.join_next().await {
            if let Some(number) = ended?? {
                return Ok(number);
            }
        }
        bail!("no name has a number")
    };
    timeout(NAME_TIMEOUT, first)
        .await
        .unwrap_or_else(|_| bail!("no name with a number in {NAME_TIMEOUT:?}"))
        .with_context(|| format!("ask {resolver} for the names of {addresses:?}"))
}

/// The number in a name of `address`. Sends the query again until it is answered, and ignores
/// other datagrams.
async fn number_of_one(address: Ipv4Addr, resolver: SocketAddr) -> anyhow::Result<Option<u32>> {
    let query = ptr_query(address)?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    // From now on the system drops datagrams from other addresses.
    socket.connect(resolver).await?;
    // One byte more than an answer can have, so that a longer datagram is noticed.
    let mut datagram = [0; NAME_ANSWER_BYTES_MAX + 1];
    let mut ticks = interval(NAME_QUERY_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => drop(socket.send(&query).await?),
            received = socket.recv(&mut datagram) => {
                let answer = datagram.get(..received?).unwrap_or_default();
                if answer.len() <= NAME_ANSWER_BYTES_MAX
                    && let Some(names) = names_in(answer, &query)
                {
                    return Ok(names.iter().find_map(|name| number_in(name)));
                }
            }
        }
    }
}

/// A PTR query.
fn ptr_query(address: Ipv4Addr) -> anyhow::Result<Vec<u8>> {
    let [a, b, c, d] = address.octets();
    let name = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
    let (qtype, qclass) = (QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN));
    let mut packet = Packet::new_query(rand::random());
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(Name::new(&name)?, qtype, qclass, false));
    Ok(packet.build_bytes_vec()?)
}

/// The first labels of the names in an answer, or `None` if the datagram is not an answer to
/// `query`.
fn names_in(datagram: &[u8], query: &[u8]) -> Option<Vec<String>> {
    let (packet, query) = (Packet::parse(datagram).ok()?, Packet::parse(query).ok()?);
    let asked = |packet: &Packet<'_>| packet.questions.first().map(|first| first.qname.to_string());
    let is_answer = packet.has_flags(PacketFlag::RESPONSE)
        && packet.id() == query.id()
        && asked(&packet) == asked(&query);
    let names = packet.answers.iter().filter_map(|record| match &record.rdata {
        RData::PTR(name) => name.0.get_labels().first().map(ToString::to_string),
        _ => None,
    });
    is_answer.then(|| names.collect())
}

/// The number at the end of a container's name: `project-client-2` or `project_client_2`.
fn number_in(name: &str) -> Option<u32> {
    let (service, number) = name.rsplit_once(['-', '_'])?;
    program::settings::number(number).filter(|_| !service.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::rdata::PTR;
    use simple_dns::{RCODE, ResourceRecord};

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 25, 124, 3);
    const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
    const NAME: &str = "lottery-client-2.lottery_default";
    const OTHER_NAME: &str = "lottery-client-9.lottery_default";

    /// The datagrams that a resolver sends to a query, one after the other.
    type Answers = fn(&[u8]) -> Vec<Vec<u8>>;

    /// A resolver that answers its n-th query as the n-th of these does, and further ones not.
    async fn resolver(answers: Vec<Answers>) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            for answers in answers {
                let mut query = [0; 512];
                let (bytes, from) = socket.recv_from(&mut query).await.unwrap();
                for answer in answers(&query[..bytes]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
            // A closed port would tell the client that nothing comes.
            std::future::pending::<()>().await;
            drop(socket);
        });
        address
    }

    fn named(query: &[u8], names: &[&str]) -> Vec<u8> {
        let query = Packet::parse(query).unwrap();
        let mut answer = Packet::new_reply(query.id());
        *answer.rcode_mut() = if names.is_empty() { RCODE::NameError } else { RCODE::NoError };
        answer.questions.clone_from(&query.questions);
        for name in names {
            let rdata = RData::PTR(PTR(Name::new(name).unwrap()));
            let question = query.questions[0].qname.clone();
            answer.answers.push(ResourceRecord::new(question, CLASS::IN, 600, rdata));
        }
        answer.build_bytes_vec_compressed().unwrap()
    }

    fn right(query: &[u8]) -> Vec<Vec<u8>> {
        vec![named(query, &[NAME])]
    }

    /// Datagrams that are no answer to the query.
    fn wrong(query: &[u8]) -> Vec<Vec<u8>> {
        let mut other_id = named(query, &[OTHER_NAME]);
        other_id[0] ^= 1;
        let mut other_question = named(&ptr_query(OTHER_ADDRESS).unwrap(), &[OTHER_NAME]);
        other_question[..2].copy_from_slice(&query[..2]);
        let mut oversized = named(query, &[OTHER_NAME]);
        oversized.resize(4096, 0);
        let mut cut = named(query, &[NAME]);
        cut.truncate(cut.len() - 5);
        let (empty, garbage) = (Vec::new(), b"garbage".to_vec());
        vec![empty, garbage, query.to_vec(), other_id, other_question, oversized, cut]
    }

    /// The right answer for one address, and none for others.
    fn right_to_one(query: &[u8]) -> Vec<Vec<u8>> {
        let asked = Packet::parse(query).unwrap().questions[0].qname.to_string();
        if asked == "3.124.25.172.in-addr.arpa" { right(query) } else { Vec::new() }
    }

    #[tokio::test]
    async fn the_number_is_found_unless_no_answer_has_one() {
        const ALL: usize = OWN_ADDRESSES_MAX;
        let silence: Answers = |_| Vec::new();
        let unknown: Answers = |query| vec![named(query, &[])];
        let wrong_and_right: Answers = |query| [wrong(query), right(query)].concat();
        let id: Answers = |query| vec![named(query, &["0123456789ab.lottery_default"])];
        let aliases: Answers =
            |query| vec![named(query, &["alias.lottery_default", "a_client_7.lottery_default"])];
        for (what, count, answers, wanted) in [
            ("an answer", 1, vec![right as Answers], "2"),
            ("other datagrams are ignored", 1, vec![wrong_and_right], "2"),
            ("a query is sent again", 1, vec![silence, wrong, right], "2"),
            ("addresses without a number do not end it", 3, vec![unknown, id, aliases], "7"),
            ("one address has no answer", 2, vec![right_to_one as Answers; 2], "2"),
            ("names without a number are not waited for", 2, vec![unknown, id], "has a number"),
            ("silence is waited for as long for all as for one", ALL, vec![], "number in 2s"),
        ] {
            let addresses = [vec![OTHER_ADDRESS; count - 1], vec![ADDRESS]].concat();
            let number = timeout(NAME_TIMEOUT * 2, number_of(&addresses, resolver(answers).await));
            let found = match number.await.expect(what) {
                Ok(number) => number.to_string(),
                Err(error) => format!("{error:#}"),
            };
            assert!(found.ends_with(wanted), "{what}: {found}");
        }
    }

    #[tokio::test]
    async fn a_resolver_that_is_not_there_is_not_waited_for() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        drop(socket);
        let error = number_of(&[ADDRESS], address).await.unwrap_err();
        assert!(format!("{error:#}").contains("refused"), "{error:#}");
    }

    #[test]
    fn a_query_has_the_bytes_of_rfc_1035() {
        let query = ptr_query(ADDRESS).unwrap();
        let question = b"\x013\x03124\x0225\x03172\x07in-addr\x04arpa\0\0\x0c\0\x01";
        assert_eq!(query[2..], [&b"\x01\0\0\x01\0\0\0\0\0\0"[..], question].concat());
    }

    #[test]
    fn a_number_stands_at_the_end_of_a_name() {
        for (name, number) in [
            ("lottery-client-2", Some(2)),
            ("lottery_client_12", Some(12)),
            ("client-100000", Some(100_000)),
            ("my-lottery-2-client-3", Some(3)),
            ("client", None),
            ("client-", None),
            ("-2", None),
            ("2", None),
            ("client2", None),
            ("client-2b", None),
            ("client-+2", None),
            ("client-99999999999", None),
            ("lottery-client-run-0f3a5c7e9b1d", None),
            ("0123456789ab", None),
            ("", None),
        ] {
            assert_eq!(number_in(name), number, "{name}");
        }
    }

    #[test]
    fn only_the_resolver_of_docker_is_asked() {
        let docker = Some(SocketAddr::from(([127, 0, 0, 11], 53)));
        for (text, resolver) in [
            ("nameserver 127.0.0.11\noptions ndots:0\n", docker),
            ("# made by Docker\nsearch example.org\nnameserver\t127.0.0.11", docker),
            ("nameserver 127.0.0.53\nnameserver 127.0.0.11\n", None),
            ("nameserver 192.168.1.1\n", None),
            ("nameserver\nnameserver ::1\n", None),
            ("#nameserver 127.0.0.11\n", None),
            ("", None),
        ] {
            assert_eq!(docker_resolver(text), resolver, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_datagram_is_an_answer_or_none(
            datagram: Vec<u8>, places in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        ) {
            let query = ptr_query(ADDRESS).unwrap();
            let mut answer = named(&query, &[NAME]);
            names_in(&datagram, &query);
            for (place, byte) in places {
                let place = place % answer.len();
                answer[place] = byte;
            }
            names_in(&answer, &query);
        }
    }
}
