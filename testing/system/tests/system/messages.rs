//! Messages: what participants see, whichever instance answers them, and however instances come and
//! go.

use std::process::Stdio;
use std::time::Duration;

use harness::process::Launch;
use harness::raw_connection::RawConnection;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::common::{LIMIT, Lottery, Setup, assert_has, assert_starts, binary};

/// Instances that hide lines until so many have joined.
async fn start(servers: u8, minimum: u32) -> Lottery {
    let mut setup = Setup::new(servers, 2);
    setup.plan.server_settings = vec![("CHAT_MINIMUM".to_owned(), minimum.to_string())];
    setup.start().await
}

/// A participant by hand, who has joined.
async fn join(lottery: &Lottery, place: usize, name: &str) -> RawConnection {
    let mut connection = lottery.connect(place).await;
    let answer = connection.ask(&format!("ChatJoin:{name};secretof{name};;")).await.unwrap();
    assert_starts(&answer, "ChatJoinResponse:0;");
    connection
}

/// The answer to a read: the lines as `position;kind;from;to;text`, and what ends them.
async fn answer(connection: &mut RawConnection) -> (Vec<String>, String) {
    let mut lines = Vec::new();
    loop {
        let line = connection.line().await.unwrap();
        match line.strip_prefix("ChatMessage:") {
            Some(line) => {
                let (position, rest) = line.split_once(';').unwrap();
                lines.push(format!("{position};{}", rest.split_once(';').unwrap().1));
            }
            None => return (lines, line),
        }
    }
}

async fn read(connection: &mut RawConnection, after: u64) -> (Vec<String>, String) {
    connection.send(format!("ChatRead:{after}\n")).await.unwrap();
    answer(connection).await
}

/// All lines up to `end`, without events of the day.
async fn read_all(connection: &mut RawConnection, end: u64) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), 0);
    while after < end {
        let (lines, ended) = read(connection, after).await;
        all.extend(lines);
        let position = ended.strip_prefix("ChatReadResponse:").unwrap().split(';').next();
        after = position.unwrap().parse().unwrap();
    }
    all.retain(|line| !line.contains(";event;"));
    all
}

/// Who types and reads: `client chat` or `client talk`, by its standard input and output.
pub struct Person {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

impl Person {
    pub fn start(launch: &Launch) -> Self {
        let mut child = Command::new(&launch.binary)
            .args(&launch.arguments)
            .env_clear()
            .envs(&launch.settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { input: child.stdin.take(), child, output, seen: Vec::new() }
    }

    pub fn join(lottery: &Lottery, name: &str, more: &[&str]) -> Self {
        let arguments = [&["client", "chat", "--name", name], more].concat();
        let launch = Launch::new(&binary(), &arguments)
            .with("CLI_CLAIMS_DIR", lottery.directory.path().join("keys").display())
            .with("CLI_SERVER_ADDRESS", lottery.cluster.addresses());
        Self::start(&launch)
    }

    pub async fn says(&mut self, text: &str) {
        let line = format!("{text}\n");
        self.input.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
    }

    /// Reads until a line with `part` comes.
    pub async fn sees(&mut self, part: &str) -> String {
        loop {
            let line = timeout(LIMIT, self.output.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("{part:?} is not in {:#?}", self.seen));
            let line = line.unwrap().unwrap_or_else(|| panic!("ended after {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Leaves, and gives all lines that it has seen.
    pub async fn leaves(mut self) -> Vec<String> {
        self.says("$exit").await;
        drop(self.input.take());
        while let Ok(Some(line)) = timeout(LIMIT, self.output.next_line()).await.unwrap() {
            self.seen.push(line);
        }
        assert_eq!(timeout(LIMIT, self.child.wait()).await.unwrap().unwrap().code(), Some(0));
        self.seen
    }

    /// The lines of the room that were seen so far.
    fn room(&self) -> Vec<&String> {
        self.seen.iter().filter(|line| line.contains(": line ")).collect()
    }
}

#[tokio::test]
async fn everyone_reads_the_same_lines_from_every_instance_once_enough_have_joined() {
    let lottery = start(3, 3).await;
    let mut ana = join(&lottery, 0, "ana").await;
    let mut leo = join(&lottery, 1, "leo").await;
    leo.send("ChatRead:0\n").await.unwrap();
    assert_starts(&ana.ask("ChatSend:1;before eva").await.unwrap(), "ChatSendResponse:0;");
    assert!(leo.is_silent().unwrap(), "two of three are there: lines are hidden");
    let mut eva = join(&lottery, 2, "eva").await;
    let (lines, ended) = answer(&mut leo).await;
    assert!(lines.iter().any(|line| line.ends_with(";message;ana;;before eva")), "{lines:?}");
    assert!(ended.ends_with(";3;0"), "three are online, and none is missing: {ended}");
    let private = eva.ask("ChatPrivate:1;leo;only for leo; now").await.unwrap();
    let last = private.strip_prefix("ChatSendResponse:0;").unwrap().parse().unwrap();
    // Sent again, to whichever instance, it is where it was.
    let mut again = join(&lottery, 0, "eva").await;
    assert_eq!(again.ask("ChatPrivate:1;leo;only for leo; now").await.unwrap(), private);
    let room = ["join;ana;;", "join;leo;;", "message;ana;;before eva", "join;eva;;", "active;;;"];
    for (connection, private) in [
        (&mut ana, "hidden;;;"),
        (&mut leo, "private;eva;leo;only for leo; now"),
        (&mut eva, "private;eva;leo;only for leo; now"),
    ] {
        let all = read_all(connection, last).await;
        let all: Vec<_> = all.iter().map(|line| line.split_once(';').unwrap().1).collect();
        // Behind it, eva's moves to another instance are hidden.
        assert_eq!(all[..=room.len()], [&room[..], &[private]].concat());
    }
    lottery.end().await;
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_and_stored_nowhere() {
    let lottery = start(2, 0).await;
    let mut stranger = lottery.connect(0).await;
    for (packet, answer) in [
        ("ChatSend:1;x", "ChatSendResponse:2;join "),
        ("ChatRead:0", "Error:join "),
        ("ChatWho:", "Error:join "),
        ("ChatJoin:a b;secretofana;;", "ChatJoinResponse:2;name "),
        ("ChatJoin:ana;short;;", "ChatJoinResponse:2;key "),
    ] {
        assert_starts(&stranger.ask(packet).await.unwrap(), answer);
    }
    let mut ana = join(&lottery, 0, "ana").await;
    let mut forger = lottery.connect(1).await;
    for (packet, answer) in [
        ("ChatJoin:ana;anotherkey;;", "ChatJoinResponse:2;key "),
        ("ChatSend:1;I am ana", "ChatSendResponse:2;join "),
    ] {
        assert_starts(&forger.ask(packet).await.unwrap(), answer);
    }
    for (packet, answer) in [
        ("ChatSend:2;too early", "ChatSendResponse:2;gap "),
        ("ChatSend:1;\u{1b}[2J", "ChatSendResponse:2;invalid "),
        ("ChatPrivate:1;nobody;x", "ChatSendResponse:2;to "),
        ("ChatWho:", "ChatWhoResponse:ana"),
        ("ChatSend:1;<script>alert(1)</script>", "ChatSendResponse:0;"),
        ("ChatLeave:", "ChatLeaveResponse:0"),
        ("ChatSend:2;after leaving", "ChatSendResponse:2;join "),
    ] {
        assert_starts(&ana.ask(packet).await.unwrap(), answer);
    }
    let mut leo = join(&lottery, 1, "leo").await;
    let lines = read_all(&mut leo, 6).await;
    let said = lines.iter().filter(|line| line.contains(";message;")).count();
    assert_eq!(said, 1, "{lines:?}");
    lottery.end().await;
}

#[tokio::test]
async fn without_any_datagram_an_instance_looks_by_itself() {
    let mut setup = Setup::new(2, 2);
    // Nothing can be sent there.
    setup.plan.server_settings = vec![("UDP_BROADCAST_IP".to_owned(), "240.0.0.1".to_owned())];
    let lottery = setup.start().await;
    let mut leo = join(&lottery, 1, "leo").await;
    let mut ana = join(&lottery, 0, "ana").await;
    let position = ana.ask("ChatSend:1;no hint of this").await.unwrap();
    let last: u64 = position.strip_prefix("ChatSendResponse:0;").unwrap().parse().unwrap();
    let lines = read_all(&mut leo, last).await;
    assert_eq!(lines.last(), Some(&format!("{last};message;ana;;no hint of this")));
    lottery.end().await;
}

#[tokio::test]
async fn who_talks_notices_nothing_of_instances_that_move_and_are_killed() {
    let mut lottery = start(3, 2).await;
    let names = ["ana", "leo", "eva"];
    let mut people: Vec<_> = names.iter().map(|name| Person::join(&lottery, name, &[])).collect();
    for person in &mut people {
        person.sees("everyone reads everything").await;
    }
    let lines = 30;
    for line in 0..lines {
        people[line % 3].says(&format!("line {line}")).await;
        match line % 6 {
            1 => lottery.restart(line % 3).await,
            4 => lottery.kill_and_restart(line % 3).await,
            _ => {}
        }
    }
    for person in &mut people {
        while person.room().len() < lines {
            person.sees(": line ").await;
        }
    }
    people[0].says("$private leo only for leo").await;
    people[1].sees("(PRIVATE) ana to leo: only for leo").await;
    people[0].sees("(PRIVATE) ana to leo: only for leo").await;
    people[1].says("$who").await;
    people[1].sees("3 online: ana, eva, leo").await;
    let rooms: Vec<Vec<String>> =
        people.iter().map(|it| it.room().into_iter().cloned().collect()).collect();
    assert_eq!(rooms[0].len(), lines, "{:#?}", rooms[0]);
    assert!(rooms.iter().all(|room| *room == rooms[0]), "{rooms:#?}");
    let mut late = Person::join(&lottery, "late", &[]);
    while late.room().len() < lines {
        late.sees(": line ").await;
    }
    assert_eq!(late.room(), rooms[0].iter().collect::<Vec<_>>(), "who joins later reads all");
    for person in people.into_iter().chain([late]) {
        let seen = person.leaves().await;
        let moved =
            |line: &String| line.contains("has left") && !names.iter().any(|n| line.contains(n));
        assert!(!seen.iter().any(moved), "{seen:#?}");
    }
    lottery.end().await;
}

#[tokio::test]
async fn a_private_message_waits_for_who_is_away_and_a_name_for_its_key() {
    let lottery = start(2, 0).await;
    let mut leo = Person::join(&lottery, "leo", &["--no-direct"]);
    leo.sees("leo has joined").await;
    let thief = Launch::new(&binary(), &["client", "chat", "--name", "leo"])
        .with("CLI_CLAIMS_DIR", lottery.directory.path().join("other-keys").display())
        .with("CLI_SERVER_ADDRESS", lottery.cluster.addresses());
    let refused = lottery.run("thief", &thief, 1).await;
    assert_has(&refused.log, &["the name leo belongs to another key"]);
    leo.leaves().await;
    let mut ana = Person::join(&lottery, "ana", &["--debug"]);
    ana.sees("ana has joined").await;
    ana.says("$private nobody hello").await;
    ana.sees("not sent: nobody has the name nobody").await;
    ana.says("$private leo while you were away").await;
    ana.sees("the servers keep it until leo reads").await;
    ana.sees("(PRIVATE) ana to leo: while you were away").await;
    let mut leo = Person::join(&lottery, "leo", &[]);
    leo.sees("(PRIVATE) ana to leo: while you were away").await;
    ana.sees("leo has joined").await;
    ana.says("$private leo straight").await;
    leo.sees("(PRIVATE) ana to leo: straight").await;
    let log = std::fs::read_to_string(lottery.volume.path().join("messages.csv")).unwrap();
    assert!(!log.contains("straight"), "it went from client to client:\n{log}");
    ana.leaves().await;
    leo.leaves().await;
    let mut lottery = lottery;
    lottery.expect_alarms("thief", &["chat"], "belongs to another key");
    lottery.end().await;
}

#[tokio::test]
async fn an_operator_tells_reads_and_drains_and_the_day_is_a_timeline() {
    let mut lottery = start(2, 0).await;
    let mut ana = Person::join(&lottery, "ana", &[]);
    ana.sees("ana has joined").await;
    let address = lottery.cluster.servers()[0].address();
    let server = |arguments: &[&str]| {
        let arguments = [&["server"], arguments].concat();
        Launch::new(&binary(), &arguments)
            .with("SERVER_IP", address.ip())
            .with("SERVER_PORT", address.port())
            .with("SHARED_VOLUME", lottery.volume.path().display())
    };
    lottery.run("notice", &server(&["notice", "the draw", "is soon"]), 0).await;
    lottery.run("notice", &server(&["notice", "--to", "leo", "only for leo"]), 0).await;
    ana.sees("NOTICE: the draw is soon").await;
    let mut bets = lottery.connect(0).await;
    for agency in 1..=2 {
        assert_eq!(
            bets.ask(&format!("AgencyClose:{agency};0")).await.unwrap(),
            "AgencyCloseResponse:0"
        );
    }
    ana.sees("* agency 1 has closed").await;
    ana.sees("* the draw is held: 7574 wins, of 0 bets").await;
    lottery.run("drain", &server(&["drain"]), 0).await;
    ana.sees(&format!("* the server {address} has ended")).await;
    let printed = lottery.run("messages", &server(&["messages"]), 0).await.output.join("\n");
    let kinds =
        ["event the server", "join ana at", "notice the draw is soon", "notice to leo: only"];
    assert_has(&printed, &kinds);
    assert!(!printed.contains("secretof"), "{printed}");
    lottery.restart(0).await;
    ana.says("still here").await;
    ana.sees("ana: still here").await;
    assert!(!ana.seen.iter().any(|line| line.contains("only for leo")), "{:#?}", ana.seen);
    let day = lottery.archive(&[], 0).await.log;
    let day = day.split("directory: ").nth(1).unwrap().lines().next().unwrap();
    let kept = std::fs::read_to_string(std::path::Path::new(day).join("messages.csv")).unwrap();
    assert_has(&kept, &["still here", "the draw is soon"]);
    ana.says("another day").await;
    ana.sees("ana: another day").await;
    ana.leaves().await;
    lottery.end().await;
}

#[tokio::test]
async fn two_people_talk_without_a_server() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = port.to_string();
    let talk = |role: &str, name: &str| {
        Launch::new(&binary(), &["client", "talk", role, &address, "--name", name])
    };
    let mut leo = Person::start(&talk("--connect", "leo"));
    leo.sees("looking for the other").await;
    leo.says("typed before you came").await;
    let mut ana = Person::start(&talk("--listen", "ana"));
    ana.sees("leo is here").await;
    ana.sees("leo: typed before you came").await;
    ana.says("hello; leo: you").await;
    leo.sees("ana: hello; leo: you").await;
    ana.sees("ana: hello; leo: you").await;
    leo.leaves().await;
    ana.sees("leo has left").await;
    let ended = timeout(Duration::from_secs(20), ana.child.wait()).await.unwrap();
    assert_eq!(ended.unwrap().code(), Some(0));
}
