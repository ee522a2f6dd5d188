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
use std::path::Path;

use harness::raw_connection::RawConnection;

use crate::common::Lottery;

/// How many blocks are played. A fence that is misspelt would be an example that nobody checks.
const BLOCKS: usize = 15;

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

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Send { connection: String, packet: String },
    Receive { connection: String, answer: String },
    File { name: String, content: String },
}

/// A section, with the line of PROTOCOL.md at which each step stands.
#[derive(Debug, Default)]
struct Section {
    heading: String,
    agencies: u32,
    blocks: usize,
    steps: Vec<(usize, Step)>,
}

/// A fenced block.
struct Block<'d> {
    info: &'d str,
    line: usize,
    lines: Vec<&'d str>,
}

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/PROTOCOL.md");
    std::fs::read_to_string(path).unwrap()
}

/// The sections that have something to play.
fn sections(document: &str) -> Vec<Section> {
    let mut sections = vec![Section::default()];
    let mut block: Option<Block<'_>> = None;
    for (index, text) in document.lines().enumerate() {
        match (&mut block, text.strip_prefix("```")) {
            (None, Some(info)) => block = Some(Block { info, line: index + 2, lines: Vec::new() }),
            (None, None) if text.starts_with('#') => {
                sections.push(Section { heading: text.to_owned(), ..Section::default() });
            }
            (None, None) => {}
            (Some(open), None) => open.lines.push(text),
            (Some(open), Some(_)) => {
                sections.last_mut().unwrap().add(open);
                block = None;
            }
        }
    }
    assert!(block.is_none(), "a fence is not closed");
    sections.retain(|section| section.blocks > 0);
    sections
}

impl Section {
    fn add(&mut self, block: &Block<'_>) {
        let mut words = block.info.split_ascii_whitespace();
        let language = words.next().unwrap_or_default();
        let (options, files): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        let is_session = block.lines.iter().any(|line| line.starts_with("$ nc "));
        let steps = match (language, files.as_slice()) {
            ("wire", []) => wire(block),
            ("console", []) if is_session => netcat(block),
            (_, [name]) => vec![(block.line, file(name, block))],
            (_, []) => return,
            _ => panic!("line {}: one file at the most", block.line),
        };
        if self.blocks == 0 {
            let agencies = options.iter().find_map(|option| option.strip_prefix("agencies="));
            self.agencies = agencies.map_or(1, |count| count.parse().unwrap());
        }
        self.blocks += 1;
        self.steps.extend(steps);
    }
}

fn wire(block: &Block<'_>) -> Vec<(usize, Step)> {
    let step = |(index, text): (usize, &&str)| {
        let line = block.line + index;
        let at = text.find(['<', '>']).unwrap_or_else(|| panic!("line {line}: neither < nor >"));
        let (connection, rest) = (text[..at].to_owned(), &text[at + 1..]);
        assert!(connection.len() <= 1, "line {line}: the name of a connection is a letter");
        let said = rest.strip_prefix(' ').unwrap_or(rest).to_owned();
        let sent = text[at..].starts_with('>');
        let step = match sent {
            true => Step::Send { connection, packet: said },
            false => Step::Receive { connection, answer: said },
        };
        (line, step)
    };
    block.lines.iter().enumerate().map(step).collect()
}

fn netcat(block: &Block<'_>) -> Vec<(usize, Step)> {
    let mut steps = Vec::new();
    let mut connected = false;
    for (index, text) in block.lines.iter().enumerate() {
        let connection = String::new();
        let is_answer = type_of(text).ends_with("Response") || type_of(text) == "Error";
        if text.starts_with("$ ") {
            connected = text.starts_with("$ nc ");
        } else if connected && is_answer {
            let answer = (*text).to_owned();
            steps.push((block.line + index, Step::Receive { connection, answer }));
        } else if connected {
            let packet = (*text).to_owned();
            steps.push((block.line + index, Step::Send { connection, packet }));
        }
    }
    steps
}

fn file(name: &str, block: &Block<'_>) -> Step {
    let content = block.lines.iter().map(|line| format!("{line}\n")).collect();
    Step::File { name: name.to_owned(), content }
}

fn type_of(packet: &str) -> &str {
    packet.split(':').next().unwrap_or_default()
}

async fn play(section: &Section) {
    let mut lottery = Lottery::start(1, section.agencies).await;
    // An example of a refusal is logged as one.
    let refused = ["apuesta_almacenada", "apuestas_almacenadas", "agencia_cerrada", "packet"];
    lottery.allow_alarms("server", &refused, "error: ");
    let mut connections: BTreeMap<&str, RawConnection> = BTreeMap::new();
    let mut ending: BTreeSet<&str> = BTreeSet::new();
    for (line, step) in &section.steps {
        let place = format!("PROTOCOL.md line {line}, {}", section.heading);
        match step {
            Step::Send { connection, packet } => {
                if !connections.contains_key(connection.as_str()) {
                    connections.insert(connection, lottery.connect(0).await);
                }
                let open = connections.get_mut(connection.as_str()).unwrap();
                open.send(format!("{packet}\n")).await.unwrap();
                if ends_connection(packet) {
                    ending.insert(connection);
                }
            }
            Step::Receive { connection, answer } => {
                let open = connections.get_mut(connection.as_str()).expect(&place);
                let came = open.line().await;
                let came = came.unwrap_or_else(|error| panic!("{place}: {error:#}"));
                assert_eq!(came, *answer, "{place}");
                if ending.remove(connection.as_str()) {
                    let open = connections.remove(connection.as_str()).expect(&place);
                    assert_eq!(open.end().await.unwrap(), b"", "{place}");
                }
            }
            Step::File { name, content } => {
                let path = lottery.volume.path().join(name);
                let found = std::fs::read_to_string(path).expect(&place);
                assert_eq!(comparable(name, &found), comparable(name, content), "{place}");
            }
        }
    }
    // An answer that no example shows would come before this one.
    for connection in connections.values_mut() {
        let answer = connection.ask("AgencyStatus:1").await.unwrap();
        assert_eq!(type_of(&answer), "AgencyStatusResponse", "{}", section.heading);
    }
    lottery.end().await;
}

/// Whether the server closes the connection after the answer to `packet`: a `StoreBatch` in the
/// reference's form, whose first separator is a `:`.
fn ends_connection(packet: &str) -> bool {
    let body = packet.strip_prefix("StoreBatch:").unwrap_or_default();
    body.find([';', ':']).is_some_and(|at| body[at..].starts_with(':'))
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

#[tokio::test]
async fn every_example_is_what_a_server_does() {
    let document = document();
    let sections = sections(&document);
    let blocks: usize = sections.iter().map(|section| section.blocks).sum();
    assert_eq!(blocks, BLOCKS, "so many blocks are played; count them when you add one");
    for section in &sections {
        play(section).await;
    }
}

#[test]
fn every_type_of_packet_has_an_example() {
    let document = document();
    let sections = sections(&document);
    let said = sections.iter().flat_map(|section| &section.steps);
    let types: BTreeSet<&str> = said
        .filter_map(|(_, step)| match step {
            Step::Send { packet: said, .. } | Step::Receive { answer: said, .. } => {
                Some(type_of(said))
            }
            Step::File { .. } => None,
        })
        .collect();
    let missing: Vec<_> = TYPES.iter().filter(|known| !types.contains(*known)).collect();
    assert!(missing.is_empty(), "no example of {missing:?}");
    assert_eq!(document.matches("\n$ nc ").count(), 1, "one session with netcat");
}
