//! One draw over all agencies, the same on every instance, whoever asks and whenever.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use common::{Ended, LIMIT, Lottery, WINNER, binary, digest, run};
use harness::log::LogLine;
use harness::process::Launch;
use harness::raw_connection::RawConnection;
use harness::server_process::ServerProcess;

const ANA: &str = "Ana;Paz;1;2000-01-01;7574";
const LEO: &str = "Leo;Sol;2;2000-01-02;8";

/// Asks for the winners of every agency on every instance; all must answer this.
async fn assert_winners(lottery: &Lottery, winners: &[&str]) {
    for place in 0..lottery.cluster.servers().len() {
        for (agency, documents) in winners.iter().enumerate() {
            let packet = format!("WinnersRequest:{}", agency + 1);
            let answer = format!("WinnersResponse:{documents}");
            assert_eq!(lottery.ask(place, &packet).await, answer, "instance {place}");
        }
    }
}

async fn ask_for_winners(connections: &mut [RawConnection], agency: u32) {
    for connection in connections {
        connection.send(format!("WinnersRequest:{agency}\n")).await.unwrap();
    }
}

#[tokio::test]
async fn winners_are_the_same_before_during_and_after_on_every_instance() {
    let mut lottery = Lottery::start(3, 3).await;
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}:{LEO}")).await;
    lottery.ask(1, &format!("StoreRows:1;3:{}", ANA.replace(";1;", ";3;"))).await;
    lottery.ask(2, &format!("StoreRows:2;1:{LEO}")).await;
    // Before any close: everybody waits, on every instance.
    let mut early = lottery.connect_all().await;
    ask_for_winners(&mut early, 1).await;
    assert_eq!(lottery.ask(0, "AgencyClose:1;3").await, "AgencyCloseResponse:0");
    assert_eq!(lottery.ask(1, "AgencyClose:2;1").await, "AgencyCloseResponse:0");
    // While one agency is open still.
    let mut waiting = lottery.connect_all().await;
    ask_for_winners(&mut waiting, 2).await;
    for place in 0..3 {
        let status = format!("AgencyStatusResponse:1;{};closed", digest(&[LEO]));
        assert_eq!(lottery.ask(place, "AgencyStatus:2").await, status);
    }
    for connection in early.iter_mut().chain(&mut waiting) {
        assert!(connection.is_silent().unwrap(), "there is no draw yet");
    }
    assert_eq!(lottery.ask(2, "AgencyClose:3;0").await, "AgencyCloseResponse:0");
    for connection in &mut early {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:1;3");
    }
    for connection in &mut waiting {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:");
    }
    assert_winners(&lottery, &["1;3", "", ""]).await;
    let draw = fs::read(lottery.volume.draw()).unwrap();
    for server in lottery.cluster.servers_mut() {
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    }
    assert_winners(&lottery, &["1;3", "", ""]).await;
    assert_eq!(fs::read(lottery.volume.draw()).unwrap(), draw);
    lottery.end().await;
}

#[tokio::test]
async fn repeated_and_unknown_closes_make_no_draw() {
    let mut lottery = Lottery::start(2, 3).await;
    for reason in ["the agency is not a number", "agency 4 is not", "agency 5 is not"] {
        lottery.expect_alarm("server-2", "packet", &format!("error: {reason}"));
    }
    lottery.expect_alarm("server-2", "packet", "error: agency 100000 is not one of 1 to 3");
    for place in [0, 1, 0] {
        assert_eq!(lottery.ask(place, "AgencyClose:1;0").await, "AgencyCloseResponse:0");
    }
    for agency in [0, 4, 5, 100_000] {
        let answer = lottery.ask(1, &format!("AgencyClose:{agency};0")).await;
        assert!(answer.starts_with("AgencyCloseResponse:2;agency "), "{answer}");
    }
    // A plain close has no answer: the status behind it tells that it was executed.
    let closed = "AgencyStatusResponse:0;0000000000000000;closed";
    let mut connection = lottery.connect(0).await;
    for _ in 0..3 {
        connection.send("AgencyClose:2\n").await.unwrap();
        assert_eq!(connection.ask("AgencyStatus:2").await.unwrap(), closed);
    }
    let open = "AgencyStatusResponse:0;0000000000000000;open";
    assert_eq!(lottery.ask(1, "AgencyStatus:3").await, open);
    assert!(!lottery.volume.draw().exists());
    connection.send("AgencyClose:3\n").await.unwrap();
    assert_winners(&lottery, &["", "", ""]).await;
    lottery.assert_right();
    lottery.end().await;
}

#[tokio::test]
async fn late_bets_are_refused_on_every_instance() {
    let mut lottery = Lottery::start(3, 2).await;
    for action in ["apuestas_almacenadas", "apuesta_almacenada"] {
        lottery.expect_alarm("server", action, "error: closed ");
        lottery.expect_alarm("server", action, "error: drawn ");
    }
    let one = digest(&[ANA]);
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    lottery.ask(0, "AgencyClose:1;1").await;
    for word in ["closed", "drawn"] {
        for place in [2, 1, 0] {
            for packet in ["StoreBet:1;", "StoreBatch:1;", "StoreBatch:1:"] {
                assert_eq!(lottery.ask(place, &format!("{packet}{LEO}")).await, "StoreResponse:1");
            }
            let answer = lottery.ask(place, &format!("StoreRows:1;2:{LEO}")).await;
            let refused = format!("StoreRowsResponse:2;1;{one};{word} ");
            assert!(answer.starts_with(&refused), "{answer}");
        }
        lottery.ask(1, "AgencyClose:2;0").await;
        assert_winners(&lottery, &["1", ""]).await;
    }
    assert_eq!(lottery.stored(), "1,Ana,Paz,1,2000-01-01,7574\n");
    lottery.end().await;
}

#[tokio::test]
async fn an_instance_that_hears_no_datagram_looks_by_itself() {
    let mut lottery = Lottery::start(2, 1).await;
    for server in lottery.cluster.servers_mut() {
        // What is heard is logged at this level.
        server.set("LOGGING_LEVEL", "DEBUG");
    }
    let _ports = lottery.keep_datagrams_apart().await;
    let mut waiting = lottery.connect_all().await;
    ask_for_winners(&mut waiting, 1).await;
    assert_eq!(lottery.ask(0, "AgencyClose:1;0").await, "AgencyCloseResponse:0");
    for connection in &mut waiting {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:");
    }
    for server in lottery.cluster.servers() {
        server.wait_for("the draw", LIMIT, |line| line.is("sorteo", "success")).await.unwrap();
    }
    lottery.cluster.stop().await.unwrap();
    let servers = lottery.cluster.servers();
    // What an instance hears after it knew of the draw is its own announcement.
    for server in servers {
        let log = server.log().tail(usize::MAX);
        let lines = log.iter().map(|line| LogLine(line));
        let mut until_draw = lines.take_while(|line| !line.is("sorteo", "success"));
        assert!(until_draw.all(|line| line.field("action") != Some("hear")), "{log:#?}");
    }
    let announce_to = |server: &ServerProcess| {
        let listening = fs::read_to_string(server.process().log_path()).unwrap();
        let last = listening.lines().rfind(|line| LogLine(line).is("listen", "success")).unwrap();
        LogLine(last).field("announce_to").unwrap().to_owned()
    };
    assert_ne!(announce_to(&servers[0]), announce_to(&servers[1]));
    lottery.end().await;
}

/// Runs `server archive` over the lottery's volume.
async fn archive(lottery: &Lottery, arguments: &[&str]) -> Ended {
    let arguments = [&["server", "archive"], arguments].concat();
    let launch = Launch::new(&binary(), &arguments)
        .with("AGENCIES_AMOUNT", lottery.bets.agencies())
        .with("SHARED_VOLUME", lottery.volume.path().display());
    run("archive", &launch, &lottery.directory).await
}

#[tokio::test]
async fn after_an_archive_the_next_day_starts_without_a_restart() {
    let mut lottery = Lottery::start(2, 1).await;
    lottery.expect_alarm("archive", "archive", "the draw has not been held");
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    let early = archive(&lottery, &[]).await;
    assert_eq!(early.code, Some(1), "{}", early.log);
    assert!(early.log.contains("the draw has not been held: 1 bets are stored"), "{}", early.log);
    lottery.ask(1, "AgencyClose:1;1").await;
    assert_winners(&lottery, &["1"]).await;
    let (bets, draw) = (lottery.stored(), fs::read(lottery.volume.draw()).unwrap());
    let done = archive(&lottery, &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.log);
    let days: Vec<_> = fs::read_dir(lottery.volume.archive()).unwrap().flatten().collect();
    let [day] = days.as_slice() else { panic!("{days:?}") };
    assert_eq!(fs::read_to_string(day.path().join("bets.csv")).unwrap(), bets);
    assert_eq!(fs::read(day.path().join("draw.json")).unwrap(), draw);
    assert_eq!(fs::read_to_string(day.path().join("agencies_closed.txt")).unwrap(), "1\n");
    for place in 0..2 {
        let fresh = "AgencyStatusResponse:0;0000000000000000;open";
        assert_eq!(lottery.ask(place, "AgencyStatus:1").await, fresh);
    }
    let mut waiting = lottery.connect_all().await;
    ask_for_winners(&mut waiting, 1).await;
    let next = ANA.replace(";1;", ";9;");
    lottery.ask(1, &format!("StoreRows:1;1:{LEO}:{next}")).await;
    lottery.ask(0, "AgencyClose:1;2").await;
    for connection in &mut waiting {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:9");
    }
    assert_eq!(lottery.stored(), "1,Leo,Sol,2,2000-01-02,8\n1,Ana,Paz,9,2000-01-01,7574\n");
    lottery.end().await;
}

#[tokio::test]
async fn an_archive_of_another_systems_rows_says_that_its_servers_must_be_restarted() {
    let mut lottery = Lottery::start(1, 1).await;
    lottery.expect_alarm("archive", "archive", "next: restart the servers of the reference system");
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    {
        let _lock = lottery.locked("bets.csv.lock");
        let mut bets = OpenOptions::new().append(true).open(lottery.volume.bets()).unwrap();
        bets.write_all(b"1,Leo,Sol,2,2000-01-02,8\r\n").unwrap();
    }
    let done = archive(&lottery, &["--unfinished"]).await;
    assert_eq!(done.code, Some(0), "{}", done.log);
    lottery.end().await;
}

#[tokio::test]
async fn an_unfinished_day_is_put_away_on_demand_only() {
    let mut lottery = Lottery::start(1, 2).await;
    lottery.expect_alarm("archive", "archive", "nothing to put away");
    let empty = archive(&lottery, &[]).await;
    assert_eq!(empty.code, Some(1), "{}", empty.log);
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    let done = archive(&lottery, &["--unfinished"]).await;
    assert_eq!(done.code, Some(0), "{}", done.log);
    let fresh = "AgencyStatusResponse:0;0000000000000000;open";
    assert_eq!(lottery.ask(0, "AgencyStatus:1").await, fresh);
    assert_eq!(lottery.stored(), "");
    lottery.end().await;
}

#[tokio::test]
async fn an_archive_that_was_cut_short_is_finished_before_bets_are_taken_again() {
    let mut lottery = Lottery::start(2, 1).await;
    for action in ["apuesta_almacenada", "apuestas_almacenadas", "agencia_cerrada"] {
        lottery.expect_alarm("server", action, "server archive");
    }
    for action in ["agencia_consultada", "look"] {
        lottery.allow_alarm("server", action, "server archive");
    }
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    let (day, marker) = ("2026-01-31T10-00-00.000Z", lottery.volume.path().join("locks/archiving"));
    fs::write(&marker, day).unwrap();
    for place in 0..2 {
        let answer = lottery.ask(place, &format!("StoreRows:1;2:{LEO}")).await;
        let busy = answer.starts_with("StoreRowsResponse:1;") && answer.contains("server archive");
        assert!(busy, "{answer}");
        assert_eq!(lottery.ask(place, &format!("StoreBet:1;{LEO}")).await, "StoreResponse:1");
        let answer = lottery.ask(place, "AgencyClose:1;1").await;
        assert!(answer.starts_with("AgencyCloseResponse:1;"), "{answer}");
    }
    let done = archive(&lottery, &[]).await;
    assert_eq!(done.code, Some(0), "{}", done.log);
    assert!(!marker.exists());
    let put_away = lottery.volume.archive().join(day).join("bets.csv");
    assert_eq!(fs::read_to_string(put_away).unwrap(), "1,Ana,Paz,1,2000-01-01,7574\n");
    for (place, row, bets) in [(0, 1, &[LEO][..]), (1, 2, &[LEO, ANA])] {
        let answer = lottery.ask(place, &format!("StoreRows:1;{row}:{}", bets[row - 1])).await;
        assert_eq!(answer, format!("StoreRowsResponse:0;{row};{}", digest(bets)));
    }
    assert_eq!(lottery.stored(), "1,Leo,Sol,2,2000-01-02,8\n1,Ana,Paz,1,2000-01-01,7574\n");
    lottery.end().await;
}

/// One more instance, on a port of its own.
fn server(lottery: &Lottery) -> Launch {
    Launch::new(&binary(), &["server"])
        .with("SERVER_PORT", 0)
        .with("SERVER_IP", "127.0.0.1")
        .with("AGENCIES_AMOUNT", 1)
        .with("LOTTERY_WINNER_NUMBER", WINNER)
        .with("SHARED_VOLUME", lottery.volume.path().display())
}

#[tokio::test]
async fn settings_that_contradict_the_draw_are_refused_with_the_way_out() {
    let mut lottery = Lottery::start(1, 1).await;
    for key in ["AGENCIES_AMOUNT=12", "LOTTERY_WINNER_NUMBER=1"] {
        lottery.expect_alarm("contradiction", "config", &format!("{key} contradicts"));
    }
    lottery.ask(0, "AgencyClose:1;0").await;
    assert_winners(&lottery, &[""]).await;
    for (key, value, drawn) in [("AGENCIES_AMOUNT", 12, 1), ("LOTTERY_WINNER_NUMBER", 1, 7574)] {
        let ended =
            run("contradiction", &server(&lottery).with(key, value), &lottery.directory).await;
        assert_eq!(ended.code, Some(2), "{}", ended.log);
        let contradicts = format!("{key}={value} contradicts");
        for text in [&contradicts, &format!("set {key}={drawn}"), "docker compose run --rm"] {
            assert!(ended.log.contains(text), "{text} is not in\n{}", ended.log);
        }
    }
    lottery.end().await;
}

#[tokio::test]
async fn a_damaged_record_is_told_with_the_way_out_and_nothing_goes_on_until_then() {
    let mut lottery = Lottery::start(2, 1).await;
    let told = "draw.json is damaged, it is no record of a draw";
    lottery.expect_alarm("server", "read_draw", &format!("{told} (EOF while parsing"));
    for (who, action) in [("damaged", "serve"), ("archive", "archive")] {
        lottery.expect_alarm(who, action, told);
    }
    lottery.allow_alarm("server", "look", told);
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    lottery.ask(0, "AgencyClose:1;1").await;
    assert_winners(&lottery, &["1"]).await;
    let path = lottery.volume.draw();
    let draw = fs::read_to_string(&path).unwrap();
    fs::write(&path, &draw[..draw.len() / 2]).unwrap();
    for place in 0..2 {
        let answer = lottery.ask(place, "WinnersRequest:1").await;
        assert!(answer.starts_with("Error:busy ") && answer.contains("move it away"), "{answer}");
    }
    let damaged = server(&lottery);
    let ended = run("damaged", &damaged, &lottery.directory).await;
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert!(ended.log.contains("move it away"), "{}", ended.log);
    assert_eq!(archive(&lottery, &[]).await.code, Some(1));
    fs::remove_file(&path).unwrap();
    assert_winners(&lottery, &["1"]).await;
    let winners = |text: &str| text.split_once("\"agencies\"").unwrap().1.to_owned();
    assert_eq!(winners(&fs::read_to_string(&path).unwrap()), winners(&draw));
    lottery.end().await;
}

#[tokio::test]
async fn an_instance_with_other_settings_than_the_draws_says_so() {
    let mut lottery = Lottery::start(2, 2).await;
    let server = &mut lottery.cluster.servers_mut()[1];
    server.stop().await.unwrap();
    server.set("AGENCIES_AMOUNT", 3);
    server.set("LOTTERY_WINNER_NUMBER", 8);
    server.restart().await.unwrap();
    for key in ["AGENCIES_AMOUNT=2", "LOTTERY_WINNER_NUMBER=7574"] {
        let error = format!("the draw was held with {key}, by another instance");
        lottery.expect_alarm("server-2", "config", &error);
    }
    for agency in 1..=2 {
        let answer = lottery.ask(0, &format!("AgencyClose:{agency};0")).await;
        assert_eq!(answer, "AgencyCloseResponse:0");
    }
    assert_winners(&lottery, &["", ""]).await;
    let server = &lottery.cluster.servers()[1];
    server.wait_for("the difference", LIMIT, |line| line.is("config", "fail")).await.unwrap();
    let took_no_part = "Error:agency agency 3 took no part in the draw";
    assert_eq!(lottery.ask(1, "WinnersRequest:3").await, took_no_part);
    lottery.end().await;
}

/// Somebody brought an archived day back to look at it, by copying its files.
#[tokio::test]
async fn a_day_that_was_brought_back_is_put_away_again_beside_itself() {
    let lottery = Lottery::start(1, 1).await;
    lottery.ask(0, &format!("StoreRows:1;1:{ANA}")).await;
    lottery.ask(0, "AgencyClose:1;1").await;
    assert_winners(&lottery, &["1"]).await;
    for days in 1..=3 {
        let done = archive(&lottery, &[]).await;
        assert_eq!(done.code, Some(0), "{}", done.log);
        assert_eq!(lottery.stored(), "");
        assert!(!lottery.volume.draw().exists());
        let mut all: Vec<_> = fs::read_dir(lottery.volume.archive()).unwrap().flatten().collect();
        assert_eq!(all.len(), days, "{}", done.log);
        let day = all.remove(0).path();
        // The draw first, and whole at once: the server looks at any time.
        let new = lottery.volume.path().join("new");
        fs::copy(day.join("draw.json"), &new).unwrap();
        fs::rename(new, lottery.volume.draw()).unwrap();
        for name in ["bets.csv", "agencies_closed.txt"] {
            fs::copy(day.join(name), lottery.volume.path().join(name)).unwrap();
        }
        assert_winners(&lottery, &["1"]).await;
    }
    lottery.end().await;
}
