//! One draw over all agencies, the same on every instance, until the day is archived.

use std::fs;

use harness::log::LogLine;
use harness::udp_port::UdpPort;

use crate::common::other_server::OtherServer;
use crate::common::{
    ANA, ANA_ROW, CLOSED, LEO, LEO_ROW, LIMIT, Lottery, assert_has, assert_starts, status,
    store_rows, stored,
};

#[tokio::test]
async fn winners_are_the_same_before_during_and_after_on_every_instance() {
    let mut lottery = Lottery::start(3, 3).await;
    lottery.ask(0, &store_rows(1, 1, &[ANA, LEO])).await;
    lottery.ask(1, &store_rows(1, 3, &[ANA.replace(";1;", ";3;")])).await;
    lottery.ask(2, &store_rows(2, 1, &[LEO])).await;
    // Before any close, and while one agency is still open.
    let mut early = lottery.send_to_all("WinnersRequest:1").await;
    // A client that sends no more is still answered.
    early[0].finish().await.unwrap();
    assert_eq!(lottery.ask(0, "AgencyClose:1;3").await, CLOSED);
    assert_eq!(lottery.ask(1, "AgencyClose:2;1").await, CLOSED);
    let mut waiting = lottery.send_to_all("WinnersRequest:2").await;
    lottery.assert_status(2, &[LEO], "closed").await;
    for connection in early.iter_mut().chain(&mut waiting) {
        assert!(connection.is_silent().unwrap(), "there is no draw yet");
    }
    assert_eq!(lottery.ask(2, "AgencyClose:3;0").await, CLOSED);
    for (connections, answer) in [(early, "WinnersResponse:1;3"), (waiting, "WinnersResponse:")] {
        for mut connection in connections {
            assert_eq!(connection.line().await.unwrap(), answer);
        }
    }
    lottery.assert_winners(&["1;3", "", ""]).await;
    let draw = fs::read(lottery.volume.draw()).unwrap();
    for place in 0..3 {
        lottery.kill_and_restart(place).await;
    }
    lottery.assert_winners(&["1;3", "", ""]).await;
    assert_eq!(fs::read(lottery.volume.draw()).unwrap(), draw);
    lottery.end().await;
}

/// How late it may be is shown with paused time, in `server/src/watch.rs`.
#[tokio::test]
async fn an_instance_that_hears_no_datagram_looks_by_itself() {
    let mut lottery = Lottery::start(3, 2).await;
    // Each has a port of its own, from which others are kept.
    let ports = [0, 1, 2].map(|_| UdpPort::take().unwrap());
    for (place, port) in ports.iter().enumerate() {
        let server = &mut lottery.cluster.servers_mut()[place];
        server.set("UDP_BROADCAST_PORT", port.number().unwrap());
        // What is heard is logged at this level.
        server.set("LOGGING_LEVEL", "DEBUG");
        lottery.restart(place).await;
    }
    lottery.ask(1, &store_rows(1, 1, &[ANA, LEO])).await;
    let waiting = lottery.send_to_all("WinnersRequest:1").await;
    assert_eq!(lottery.ask(2, "AgencyClose:1;2").await, CLOSED);
    assert_eq!(lottery.ask(0, "AgencyClose:2;0").await, CLOSED);
    for mut connection in waiting {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:1");
    }
    for server in lottery.cluster.servers() {
        server.wait_for("the draw", LIMIT, |line| line.is("sorteo", "success")).await.unwrap();
        // What it hears later is its own announcement.
        let log = server.log().tail(usize::MAX);
        let mut lines = log.iter().map(|line| LogLine(line));
        let first = lines.find(|line| line.is("sorteo", "success") || line.0.contains(": hear "));
        assert!(first.is_some_and(|line| line.is("sorteo", "success")), "{log:#?}");
    }
    lottery.end().await;
}

#[tokio::test]
async fn after_an_archive_the_next_day_starts_without_a_restart() {
    let lottery = Lottery::start(2, 1).await;
    lottery.ask(0, &store_rows(1, 1, &[ANA])).await;
    lottery.ask(1, "AgencyClose:1;1").await;
    lottery.assert_winners(&["1"]).await;
    let draw = fs::read_to_string(lottery.volume.draw()).unwrap();
    lottery.archive(&[], 0).await;
    let days: Vec<_> = fs::read_dir(lottery.volume.archive()).unwrap().flatten().collect();
    let [day] = days.as_slice() else { panic!("{days:?}") };
    for (name, content) in
        [("bets.csv", ANA_ROW), ("draw.json", &draw), ("agencies_closed.txt", "1\n")]
    {
        assert_eq!(fs::read_to_string(day.path().join(name)).unwrap(), content);
    }
    lottery.assert_status(1, &[], "open").await;
    let waiting = lottery.send_to_all("WinnersRequest:1").await;
    lottery.ask(1, &store_rows(1, 1, &[LEO, &ANA.replace(";1;", ";9;")])).await;
    lottery.ask(0, "AgencyClose:1;2").await;
    for mut connection in waiting {
        assert_eq!(connection.line().await.unwrap(), "WinnersResponse:9");
    }
    assert_eq!(lottery.stored(), format!("{LEO_ROW}{}", ANA_ROW.replace(",1,2", ",9,2")));
    lottery.end().await;
}

#[tokio::test]
async fn a_day_without_a_draw_is_archived_on_demand_and_a_cut_short_archive_is_finished_first() {
    let mut lottery = Lottery::start(2, 1).await;
    for reason in [
        "nothing to put away",
        "the draw has not been held: 2 bets are stored",
        // The row below is theirs.
        "next: restart the servers of the reference system",
    ] {
        lottery.expect_alarms("archive", &["archive"], reason);
    }
    let asked = ["apuesta_almacenada", "apuestas_almacenadas", "agencia_cerrada"];
    lottery.expect_alarms("server", &asked, "server archive");
    lottery.allow_alarms("server", &["look"], "server archive");
    lottery.archive(&[], 1).await;
    lottery.ask(0, &store_rows(1, 1, &[ANA])).await;
    let others = LEO_ROW.replace('\n', "\r\n");
    OtherServer::on(lottery.volume.path()).store(&others);
    lottery.archive(&[], 1).await;
    // As an archive leaves it that was asked for and has not moved anything yet.
    let (day, marker) = ("2026-01-31T10-00-00.000Z", lottery.volume.path().join("locks/archiving"));
    fs::write(&marker, day).unwrap();
    for place in 0..2 {
        let answer = lottery.ask(place, &store_rows(1, 3, &[LEO])).await;
        assert_starts(&answer, "StoreRowsResponse:1;");
        assert_has(&answer, &["server archive"]);
        assert_eq!(lottery.ask(place, &format!("StoreBet:1;{LEO}")).await, "StoreResponse:1");
        assert_starts(&lottery.ask(place, "AgencyClose:1;2").await, "AgencyCloseResponse:1;");
    }
    lottery.archive(&[], 0).await;
    assert!(!marker.exists());
    let archived = lottery.volume.archive().join(day).join("bets.csv");
    assert_eq!(fs::read_to_string(archived).unwrap(), format!("{ANA_ROW}{others}"));
    assert_eq!(lottery.ask(0, &store_rows(1, 1, &[LEO])).await, stored(&[LEO]));
    assert_eq!(lottery.ask(1, &store_rows(1, 2, &[ANA])).await, stored(&[LEO, ANA]));
    assert_eq!(lottery.stored(), format!("{LEO_ROW}{ANA_ROW}"));
    lottery.archive(&["--unfinished"], 0).await;
    lottery.assert_status(1, &[], "open").await;
    assert_eq!(lottery.stored(), "");
    lottery.end().await;
}

/// An archived day was copied back, to look at it.
#[tokio::test]
async fn a_day_that_was_brought_back_is_archived_again_beside_itself() {
    let lottery = Lottery::start(1, 1).await;
    lottery.ask(0, &store_rows(1, 1, &[ANA])).await;
    lottery.ask(0, "AgencyClose:1;1").await;
    lottery.assert_winners(&["1"]).await;
    for days in 1..=3 {
        lottery.archive(&[], 0).await;
        assert_eq!(lottery.stored(), "");
        assert!(!lottery.volume.draw().exists());
        let all: Vec<_> = fs::read_dir(lottery.volume.archive()).unwrap().flatten().collect();
        assert_eq!(all.len(), days);
        let day = all[0].path();
        // The draw first, and whole at once: the server looks at any time.
        let new = lottery.volume.path().join("new");
        fs::copy(day.join("draw.json"), &new).unwrap();
        fs::rename(new, lottery.volume.draw()).unwrap();
        for name in ["bets.csv", "agencies_closed.txt"] {
            fs::copy(day.join(name), lottery.volume.path().join(name)).unwrap();
        }
        lottery.assert_winners(&["1"]).await;
    }
    lottery.end().await;
}

/// It may run before the draw, and cannot start after it.
#[tokio::test]
async fn a_running_instance_with_other_settings_than_the_draws_logs_the_difference() {
    let mut lottery = Lottery::start(2, 2).await;
    let udp_port = UdpPort::take().unwrap();
    let plan = lottery.cluster.plan().server(3, udp_port.number().unwrap());
    let settings = [("AGENCIES_AMOUNT", 3, 2), ("LOTTERY_WINNER_NUMBER", 8, 7574)];
    for (key, other, drawn) in settings {
        lottery.cluster.servers_mut()[1].set(key, other);
        let error = format!("the draw was held with {key}={drawn}, by another instance");
        lottery.expect_alarms("server-2", &["config"], &error);
    }
    lottery.restart(1).await;
    for agency in 1..=2 {
        assert_eq!(lottery.ask(0, &format!("AgencyClose:{agency};0")).await, CLOSED);
    }
    lottery.assert_winners(&["", ""]).await;
    let server = &lottery.cluster.servers()[1];
    server.wait_for("the difference", LIMIT, |line| line.is("config", "fail")).await.unwrap();
    let took_no_part = "Error:agency agency 3 took no part in the draw";
    assert_eq!(lottery.ask(1, "WinnersRequest:3").await, took_no_part);
    for (key, other, drawn) in settings {
        let contradicts = format!("{key}={other} contradicts");
        lottery.expect_alarms("late", &["config"], &contradicts);
        let ended = lottery.run("late", &plan.clone().with(key, other), 2).await;
        let way_out = format!("set {key}={drawn}");
        assert_has(&ended.log, &[&contradicts, &way_out, "docker compose run --rm"]);
    }
    lottery.end().await;
}

#[tokio::test]
async fn with_a_damaged_record_nothing_goes_on_until_it_is_moved_away() {
    let mut lottery = Lottery::start(2, 1).await;
    let damaged = "draw.json is damaged, it is no record of a draw";
    let with_cause = format!("{damaged} (EOF while parsing");
    lottery.expect_alarms("server", &["read_draw"], &with_cause);
    lottery.expect_alarms("damaged", &["serve"], damaged);
    lottery.expect_alarms("archive", &["archive"], damaged);
    lottery.allow_alarms("server", &["look"], damaged);
    lottery.ask(0, &store_rows(1, 1, &[ANA])).await;
    lottery.ask(0, "AgencyClose:1;1").await;
    lottery.assert_winners(&["1"]).await;
    let path = lottery.volume.draw();
    let draw = fs::read_to_string(&path).unwrap();
    fs::write(&path, &draw[..draw.len() / 2]).unwrap();
    for place in 0..2 {
        let answer = lottery.ask(place, "WinnersRequest:1").await;
        assert_starts(&answer, "Error:busy ");
        assert_has(&answer, &["move it away"]);
    }
    let udp_port = UdpPort::take().unwrap();
    let launch = lottery.cluster.plan().server(3, udp_port.number().unwrap());
    let ended = lottery.run("damaged", &launch, 1).await;
    assert_has(&ended.log, &["move it away"]);
    lottery.archive(&[], 1).await;
    fs::remove_file(&path).unwrap();
    lottery.assert_winners(&["1"]).await;
    let winners = |text: &str| text.split_once("\"agencies\"").unwrap().1.to_owned();
    assert_eq!(winners(&fs::read_to_string(&path).unwrap()), winners(&draw));
    assert_eq!(lottery.ask(1, "AgencyStatus:1").await, status(&[ANA], "drawn"));
    lottery.end().await;
}
