//! The examples of PROTOCOL.md, played against a real server, packet by packet.
//!
//! The examples of one section share one fresh server. A block is played if its fence opens with
//! - `wire`: `> packet` is sent, `< answer` must come back; a letter before the sign (`A> packet`)
//!   names one of several connections. After the answer to a `StoreBatch` in the form of the
//!   reference's client the server must close, and the next packet opens the connection again;
//! - `console` and has a session with netcat, `$ nc …`: answers are told from packets by their
//!   types, and the lines of other commands are passed over;
//! - anything, and the name of a file of the volume after it: the file must be there as shown.
//!
//! `agencies=N` in a section's first fence sets how many agencies its server has (default 1).

use std::collections::{BTreeMap, BTreeSet};

use harness::raw_connection::RawConnection;
use oracle::packet::ends_connection;

use crate::common::Lottery;

/// How many blocks are played. A fence that is misspelt would be an example that is not checked.
const BLOCKS: usize = 16;

/// Every type of packet and of answer: PROTOCOL.md has an example of each.
const TYPES: [&str; 12] = [
    "AgencyClose",
    "AgencyCloseResponse",
    "AgencyStatus",
    "AgencyStatusResponse",
    "Error",
    "StoreBatch",
    "StoreBet",
    "StoreResponse",
    "StoreRows",
    "StoreRowsResponse",
    "WinnersRequest",
    "WinnersResponse",
];

/// What differs from run to run in `draw.json`.
const OF_THE_RUN: [&str; 2] = ["time", "instance"];

/// A fenced block, and where it stands.
struct Block<'d> {
    heading: &'d str,
    /// The line of PROTOCOL.md at which its content starts.
    line: usize,
    info: &'d str,
    lines: Vec<&'d str>,
}

/// What a block shows.
#[derive(Clone, Copy)]
enum Kind<'d> {
    Wire,
    Netcat,
    File(&'d str),
}

impl<'d> Block<'d> {
    /// `None` if there is nothing to play.
    fn kind(&self) -> Option<Kind<'d>> {
        let mut words = self.info.split_ascii_whitespace();
        let language = words.next().unwrap_or_default();
        let file = words.find(|word| !word.contains('='));
        let is_session = self.lines.iter().any(|line| line.starts_with("$ nc "));
        match (language, file) {
            (_, Some(name)) => Some(Kind::File(name)),
            ("wire", None) => Some(Kind::Wire),
            ("console", None) if is_session => Some(Kind::Netcat),
            _ => None,
        }
    }

    fn agencies(&self) -> u32 {
        let count = self.info.split_once("agencies=").map(|(_, rest)| rest);
        count.map_or(1, |count| count.split(' ').next().unwrap().parse().unwrap())
    }
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let (mut heading, mut is_open) = ("", false);
    for (index, text) in document.lines().enumerate() {
        if let Some(info) = text.strip_prefix("```") {
            is_open = !is_open;
            if is_open {
                blocks.push(Block { heading, line: index + 2, info, lines: Vec::new() });
            }
        } else if is_open {
            blocks.last_mut().unwrap().lines.push(text);
        } else if text.starts_with('#') {
            heading = text;
        }
    }
    assert!(!is_open, "a fence is not closed");
    blocks
}

fn type_of(packet: &str) -> &str {
    packet.split(':').next().unwrap_or_default()
}

/// The fresh server of one section, and the connections to it by their letters.
struct Player {
    lottery: Lottery,
    connections: BTreeMap<String, RawConnection>,
    /// Those that the server closes after the next answer.
    ending: BTreeSet<String>,
    /// The types of the packets and answers so far.
    types: BTreeSet<String>,
}

impl Player {
    async fn play(&mut self, block: &Block<'_>, kind: Kind<'_>) {
        let mut is_netcat = false;
        for (line, text) in (block.line..).zip(&block.lines) {
            let place = format!("PROTOCOL.md line {line}");
            match kind {
                Kind::Wire => {
                    let at = text.find(['<', '>']).expect(&place);
                    let (name, packet) = (&text[..at], text[at + 1..].trim_start_matches(' '));
                    assert!(name.len() <= 1, "{place}: the name of a connection is a letter");
                    match text[at..].starts_with('>') {
                        true => self.send(name, packet).await,
                        false => self.receive(name, packet, &place).await,
                    }
                }
                Kind::Netcat if text.starts_with("$ ") => is_netcat = text.starts_with("$ nc "),
                Kind::Netcat if !is_netcat => {}
                Kind::Netcat if type_of(text).ends_with("Response") || type_of(text) == "Error" => {
                    self.receive("", text, &place).await;
                }
                Kind::Netcat => self.send("", text).await,
                Kind::File(name) => {
                    let path = self.lottery.volume.path().join(name);
                    let found = std::fs::read_to_string(path).expect(&place);
                    let shown = block.lines.join("\n") + "\n";
                    assert_eq!(comparable(name, &found), comparable(name, &shown), "{place}");
                    return;
                }
            }
        }
    }

    async fn send(&mut self, name: &str, packet: &str) {
        self.types.insert(type_of(packet).to_owned());
        if !self.connections.contains_key(name) {
            self.connections.insert(name.to_owned(), self.lottery.connect(0).await);
        }
        let connection = self.connections.get_mut(name).unwrap();
        connection.send(format!("{packet}\n")).await.unwrap();
        if ends_connection(packet.as_bytes()) {
            self.ending.insert(name.to_owned());
        }
    }

    async fn receive(&mut self, name: &str, answer: &str, place: &str) {
        self.types.insert(type_of(answer).to_owned());
        let connection = self.connections.get_mut(name).expect(place);
        assert_eq!(connection.line().await.expect(place), *answer, "{place}");
        if self.ending.remove(name) {
            let connection = self.connections.remove(name).unwrap();
            assert_eq!(connection.end().await.unwrap(), b"", "{place}");
        }
    }
}

#[tokio::test]
async fn every_example_is_what_a_server_does() {
    let document = include_str!("../../../../docs/PROTOCOL.md");
    let mut all = blocks(document);
    all.retain(|block| block.kind().is_some());
    assert_eq!(all.len(), BLOCKS, "so many blocks are played; count them when you add one");
    assert_eq!(document.matches("\n$ nc ").count(), 1, "one session with netcat");
    let mut types = BTreeSet::new();
    for section in all.chunk_by(|one, next| one.heading == next.heading) {
        let mut lottery = Lottery::start(1, section[0].agencies()).await;
        // An example of a refusal is logged as one.
        let refused = ["apuesta_almacenada", "apuestas_almacenadas", "agencia_cerrada", "packet"];
        lottery.allow_alarms("server", &refused, "error: ");
        let (connections, ending) = (BTreeMap::new(), BTreeSet::new());
        let mut player = Player { lottery, connections, ending, types };
        for block in section {
            player.play(block, block.kind().unwrap()).await;
        }
        // An answer that no example shows would come before this one.
        for connection in player.connections.values_mut() {
            let answer = connection.ask("AgencyStatus:1").await.unwrap();
            assert_eq!(type_of(&answer), "AgencyStatusResponse", "{}", section[0].heading);
        }
        player.lottery.end().await;
        types = player.types;
    }
    let missing: Vec<_> = TYPES.iter().filter(|known| !types.contains(**known)).collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
}

/// The content of a file, without what differs from run to run.
fn comparable(name: &str, content: &str) -> String {
    if name != "draw.json" {
        return content.to_owned();
    }
    let mut record: serde_json::Value = serde_json::from_str(content).unwrap();
    for key in OF_THE_RUN {
        assert!(record[key].is_string(), "{key} is in {content}");
        record[key] = serde_json::Value::Null;
    }
    serde_json::to_string_pretty(&record).unwrap()
}
