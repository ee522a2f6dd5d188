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

/// The number in a name of `addresses`, within [`NAME_TIMEOUT`].
async fn number_of(addresses: &[Ipv4Addr], resolver: SocketAddr) -> anyhow::Result<u32> {
    timeout(NAME_TIMEOUT, first_number(addresses, resolver))
        .await
        .unwrap_or_else(|_| bail!("no name with a number in {NAME_TIMEOUT:?}"))
        .with_context(|| format!("ask {resolver} for the names of {addresses:?}"))
}

/// Asks for the names of all `addresses` at once, so that one without an answer does not delay the
/// others. Sends each query again until it is answered.
async fn first_number(addresses: &[Ipv4Addr], resolver: SocketAddr) -> anyhow::Result<u32> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    // From now on the system drops datagrams from other addresses.
    socket.connect(resolver).await?;
    let mut queries =
        addresses.iter().map(|address| Query::of(*address)).collect::<Result<Vec<_>, _>>()?;
    let mut ticks = interval(NAME_QUERY_INTERVAL);
    while !queries.is_empty() {
        tokio::select! {
            _ = ticks.tick() => {
                for query in &queries {
                    socket.send(&query.bytes).await?;
                }
            }
            answered = answer_to(&queries, &socket) => {
                let (place, names) = answered?;
                if let Some(number) = names.iter().find_map(|name| number_in(name)) {
                    return Ok(number);
                }
                queries.remove(place);
            }
        }
    }
    bail!("no name has a number")
}

/// Waits for the answer to one of `queries`, and ignores other datagrams. Returns the query's index
/// and the first labels of the names. Cancellation-safe.
async fn answer_to(queries: &[Query], socket: &UdpSocket) -> io::Result<(usize, Vec<String>)> {
    // One byte more than an answer can have, so that a longer datagram is noticed.
    let mut datagram = [0; NAME_ANSWER_BYTES_MAX + 1];
    loop {
        let bytes = socket.recv(&mut datagram).await?;
        let answer = datagram.get(..bytes).filter(|answer| answer.len() < datagram.len());
        let names = |query: &Query| answer.and_then(|answer| query.names_in(answer));
        let mut answered = queries.iter().map(names).enumerate();
        if let Some((place, names)) = answered.find_map(|(place, names)| Some((place, names?))) {
            return Ok((place, names));
        }
    }
}

/// The number at the end of a container's name: `project-client-2` or `project_client_2`.
fn number_in(name: &str) -> Option<u32> {
    let (service, number) = name.rsplit_once(['-', '_'])?;
    if service.is_empty() {
        return None;
    }
    program::settings::number(number)
}

/// A PTR query.
struct Query {
    id: u16,
    name: String,
    bytes: Vec<u8>,
}

impl Query {
    fn of(address: Ipv4Addr) -> anyhow::Result<Self> {
        let [a, b, c, d] = address.octets();
        let name = format!("{d}.{c}.{b}.{a}.in-addr.arpa");
        let id = rand::random();
        let mut packet = Packet::new_query(id);
        packet.set_flags(PacketFlag::RECURSION_DESIRED);
        let (qtype, qclass) = (QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN));
        packet.questions.push(Question::new(Name::new(&name)?, qtype, qclass, false));
        let bytes = packet.build_bytes_vec()?;
        Ok(Self { id, name, bytes })
    }

    /// The first labels of the names in the answer, or `None` if the datagram is not an answer to
    /// this query.
    fn names_in(&self, datagram: &[u8]) -> Option<Vec<String>> {
        let packet = Packet::parse(datagram).ok()?;
        let [question] = packet.questions.as_slice() else { return None };
        let is_answer = packet.has_flags(PacketFlag::RESPONSE)
            && packet.id() == self.id
            && question.qtype == QTYPE::TYPE(TYPE::PTR)
            && question.qname == Name::new(&self.name).ok()?;
        let names = packet.answers.iter().filter_map(|record| match &record.rdata {
            RData::PTR(name) => name.0.get_labels().first().map(ToString::to_string),
            _ => None,
        });
        is_answer.then(|| names.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::rdata::PTR;
    use simple_dns::{RCODE, ResourceRecord};
    use tokio::time::Instant;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 25, 124, 3);
    const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);
    const NAME: &str = "lottery-client-2.lottery_default";

    /// What a resolver sends to a query, one after the other.
    type Answers = fn(&[u8]) -> Vec<Vec<u8>>;

    /// A resolver that answers its n-th query as the n-th of these does, and further ones not.
    async fn resolver(answers: &'static [Answers]) -> SocketAddr {
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

    fn reply<'p>(query: &'p Packet<'p>, names: &[&'p str]) -> Packet<'p> {
        let mut reply = Packet::new_reply(query.id());
        reply.questions.clone_from(&query.questions);
        for name in names {
            let rdata = RData::PTR(PTR(Name::new(name).unwrap()));
            let question = query.questions[0].qname.clone();
            reply.answers.push(ResourceRecord::new(question, CLASS::IN, 600, rdata));
        }
        reply
    }

    fn named(query: &[u8], names: &[&str]) -> Vec<u8> {
        reply(&Packet::parse(query).unwrap(), names).build_bytes_vec_compressed().unwrap()
    }

    fn right(query: &[u8]) -> Vec<Vec<u8>> {
        vec![named(query, &[NAME])]
    }

    fn silence(_: &[u8]) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn unknown(query: &[u8]) -> Vec<Vec<u8>> {
        let query = Packet::parse(query).unwrap();
        let mut reply = reply(&query, &[]);
        *reply.rcode_mut() = RCODE::NameError;
        vec![reply.build_bytes_vec().unwrap()]
    }

    /// Everything that is no answer to the query.
    fn wrong(query: &[u8]) -> Vec<Vec<u8>> {
        let mut other_id = named(query, &["lottery-client-9.lottery_default"]);
        other_id[0] ^= 1;
        let other_question = Query::of(Ipv4Addr::new(10, 0, 0, 1)).unwrap().bytes;
        let mut other_question = named(&other_question, &["lottery-client-9.lottery_default"]);
        other_question[..2].copy_from_slice(&query[..2]);
        let mut oversized = named(query, &["lottery-client-9.lottery_default"]);
        oversized.resize(4096, 0);
        let mut cut = named(query, &[NAME]);
        cut.truncate(cut.len() - 5);
        vec![
            Vec::new(),
            b"garbage".to_vec(),
            query.to_vec(),
            other_id,
            other_question,
            oversized,
            cut,
        ]
    }

    /// Silence to the queries for every address but one.
    fn right_to_one(query: &[u8]) -> Vec<Vec<u8>> {
        let name = Query::of(ADDRESS).unwrap().name;
        let is_one = Packet::parse(query).unwrap().questions[0].qname == Name::new(&name).unwrap();
        if is_one { right(query) } else { silence(query) }
    }

    fn id(query: &[u8]) -> Vec<Vec<u8>> {
        vec![named(query, &["0123456789ab.lottery_default"])]
    }

    fn aliases(query: &[u8]) -> Vec<Vec<u8>> {
        vec![named(query, &["alias.lottery_default", "a_client_7.lottery_default"])]
    }

    fn wrong_and_right(query: &[u8]) -> Vec<Vec<u8>> {
        [wrong(query), right(query)].concat()
    }

    /// Asks a resolver that gives these answers for the names of so many addresses.
    async fn ask(count: usize, answers: &'static [Answers]) -> Result<u32, String> {
        let addresses = &[OTHER_ADDRESS, OTHER_ADDRESS, OTHER_ADDRESS, ADDRESS];
        let addresses = &addresses[addresses.len() - count..];
        let number = number_of(addresses, resolver(answers).await).await;
        number.map_err(|error| format!("{error:#}"))
    }

    #[tokio::test]
    async fn the_number_is_in_the_answer() {
        assert_eq!(ask(1, &[right]).await, Ok(2));
        assert_eq!(ask(1, &[wrong_and_right]).await, Ok(2), "other datagrams are ignored");
    }

    #[tokio::test]
    async fn a_query_without_an_answer_is_sent_again() {
        assert_eq!(ask(1, &[silence, wrong, right]).await, Ok(2));
    }

    #[tokio::test]
    async fn an_address_without_a_number_does_not_end_the_search_for_the_others() {
        assert_eq!(ask(3, &[unknown, id, aliases]).await, Ok(7));
        assert_eq!(ask(2, &[right_to_one as Answers; 2]).await, Ok(2), "one has no answer");
    }

    #[tokio::test]
    async fn names_without_a_number_are_not_waited_for() {
        let error = ask(2, &[unknown, id]).await.unwrap_err();
        assert!(error.ends_with("no name has a number"), "{error}");
    }

    #[tokio::test]
    async fn silence_ends_the_search_however_many_addresses_there_are() {
        let start = Instant::now();
        let error = ask(OWN_ADDRESSES_MAX, &[]).await.unwrap_err();
        assert!(error.ends_with("no name with a number in 2s"), "{error}");
        assert!(start.elapsed() < NAME_TIMEOUT * 2);
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
    fn a_query_and_an_answer_have_the_bytes_of_rfc_1035() {
        let mut query = Query::of(ADDRESS).unwrap();
        let question = b"\x013\x03124\x0225\x03172\x07in-addr\x04arpa\0\0\x0c\0\x01";
        let head =
            |flags: &[u8; 2], answers| [query.id.to_be_bytes(), *flags, [0, 1], [0, answers]];
        let whole = |head: [[u8; 2]; 4], rest: &[u8]| {
            [head.as_flattened(), &[0; 4], question, rest].concat()
        };
        assert_eq!(query.bytes, whole(head(&[1, 0], 0), b""));
        // The answer's name is a pointer to the question's, and the network is within the name.
        let record = b"\xc0\x0c\0\x0c\0\x01\0\0\x02\x58\0\x1d\x10lottery-client-4\x0blottery_net\0";
        let mut record = record.to_vec();
        record[11] = (record.len() - 12) as u8;
        let answer = whole(head(&[0x81, 0x80], 1), &record);
        assert_eq!(query.names_in(&answer), Some(vec!["lottery-client-4".to_owned()]));
        query.id ^= 1;
        assert_eq!(query.names_in(&answer), None);
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
            let query = Query::of(ADDRESS).unwrap();
            let mut answer = named(&query.bytes, &[NAME]);
            query.names_in(&datagram);
            for (place, byte) in places {
                let place = place % answer.len();
                answer[place] = byte;
            }
            query.names_in(&answer);
        }
    }
}
