//! Clients and servers together: every kind of file, run once and run again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::process::Command;

use common::{Lottery, Setup, WINNER, rows, run};
use fs2::FileExt as _;
use tokio::time::timeout;

/// Every agency's client printed exactly its winners.
fn assert_printed(ends: &[harness::client_process::ClientEnd], winners: &[Vec<String>]) {
    let printed: Vec<_> = ends.iter().map(|end| end.printed.clone()).collect();
    assert_eq!(printed, winners);
}

#[tokio::test]
async fn three_servers_five_agencies_and_again() {
    let mut setup = Setup::new(3, 5);
    for (agency, count, winners) in
        [(1, 1_000, 2), (2, 613, 3), (3, 101, 3), (4, 100, 2), (5, 99, 0)]
    {
        setup = setup.rows(agency, &rows(agency, count, winners));
    }
    let mut lottery = setup.start().await;
    let first = lottery.run_clients().await;
    let audit = lottery.assert_right();
    assert_eq!(
        audit.agencies.iter().map(|agency| agency.stored).collect::<Vec<_>>(),
        [1_000, 613, 101, 100, 99]
    );
    assert_eq!(first.iter().map(|end| end.printed.len()).collect::<Vec<_>>(), [2, 3, 3, 2, 0]);
    assert_printed(&first, &lottery.winners());
    let (bets, draw) = (lottery.stored(), fs::read(lottery.volume.draw()).unwrap());
    // Again, on the same servers; and once more, on restarted ones.
    assert_eq!(lottery.run_clients().await, first);
    for server in lottery.cluster.servers_mut() {
        server.stop().await.unwrap();
        server.restart().await.unwrap();
    }
    assert_eq!(lottery.run_clients().await, first);
    assert_eq!(lottery.stored(), bets);
    assert_eq!(fs::read(lottery.volume.draw()).unwrap(), draw);
    lottery.end().await;
}

#[tokio::test]
async fn every_kind_of_file_is_stored_as_it_is() {
    let long = "ñ".repeat(50);
    let mut lottery = Setup::new(2, 6)
        // A comma, quotes, accents, and both at once.
        .rows(
            1,
            &format!(
                "\"García, Ana\",\"O\"\"Higgins\",30904465,1999-03-17,7574\n\
                 Íñigo,Muñoz,X1,2000-02-29,0\n\"\"\"Él\"\"\",\"Núñez, Ñ\",2,0001-01-01,9999\n\
                 {long},{long},ABCDEFGHIJ1234567890,9999-12-31,0075\n 李, 王 ,3,2000-01-01,07574\n"
            ),
        )
        // As another system writes it.
        .rows(2, "Ana,Paz,1,2000-01-01,7574\r\n\"Leo\",\"Sol\",2,2000-01-01,8\r\n")
        .rows(3, "Ana,Paz,1,2000-01-01,7574\nLeo,Sol,2,2000-01-01,8")
        .rows(4, "\u{feff}Ana,Paz,1,2000-01-01,7574\n")
        .rows(5, "")
        // Two that are alike in all fields are two bets.
        .rows(6, "Ana,Paz,1,2000-01-01,7574\nAna,Paz,1,2000-01-01,7574\n")
        .start()
        .await;
    lottery.expect_alarm("client-5", "bets_read", "agency-5.csv has no bets: the agency closes");
    let ends = lottery.run_clients().await;
    let audit = lottery.assert_right();
    assert_eq!(
        audit.agencies.iter().map(|agency| agency.stored).collect::<Vec<_>>(),
        [5, 2, 2, 1, 0, 2]
    );
    let winners: [&[&str]; 6] = [&["30904465", "3"], &["1"], &["1"], &["1"], &[], &["1", "1"]];
    let winners: Vec<Vec<String>> = winners
        .iter()
        .map(|agency| agency.iter().map(|document| (*document).to_owned()).collect())
        .collect();
    assert_printed(&ends, &winners);
    lottery.end().await;
}

#[tokio::test]
async fn thousands_of_winners_and_none() {
    let lottery =
        Setup::new(2, 2).rows(1, &rows(1, 12_000, 9_000)).rows(2, &rows(2, 500, 0)).start().await;
    let ends = lottery.run_clients().await;
    lottery.assert_right();
    assert_eq!(ends.iter().map(|end| end.printed.len()).collect::<Vec<_>>(), [9_000, 0]);
    assert_printed(&ends, &lottery.winners());
    lottery.end().await;
}

#[tokio::test]
async fn a_malformed_file_is_refused_with_every_bad_line_and_nothing_is_sent() {
    let mut lottery = Setup::new(1, 1)
        .rows(1, "Ana,Paz,1,2000-01-01,7\nAna,Paz,1,2000-13-01,7\nAna,Paz,1\n,Paz,-,2000-01-01,x\n")
        .start()
        .await;
    for reason in ["has lines that are no bets", "line 2", "line 3", "line 4"] {
        lottery.expect_alarm("client-1", "bets_read", reason);
    }
    let mut client = lottery.spawn(1);
    let end = client.wait(common::LIMIT).await.unwrap();
    assert_eq!(end.code(), Some(2));
    let log = client.log().tail(usize::MAX).join("\n");
    for text in
        ["line 2: birthdate", "line 3", "line 4: first name", "; document is", "; number is"]
    {
        assert!(log.contains(text), "{text:?} is not in\n{log}");
    }
    assert!(!log.contains("line 1"), "{log}");
    assert_eq!(lottery.stored(), "");
    lottery.end().await;
}

#[tokio::test]
async fn a_file_for_the_winners_that_cannot_be_written_is_told_before_a_bet_is_sent() {
    let mut lottery = Setup::new(1, 1).rows(1, &rows(1, 10, 2)).start().await;
    let wrong = lottery.directory.path().join("none/winners.txt");
    let wrong = wrong.display();
    let told = format!("CLI_WINNERS_FILE={wrong}: must be a path to write to: No such file");
    lottery.expect_alarm("unwritable", "config", &told);
    let launch = lottery.client(1).with("CLI_WINNERS_FILE", wrong);
    let ended = run("unwritable", &launch, &lottery.directory).await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    assert_eq!(lottery.stored(), "");
    lottery.end().await;
}

#[tokio::test]
async fn an_agency_that_there_is_not_is_told_which_setting_is_wrong() {
    let mut lottery = Setup::new(1, 2).rows(2, &rows(2, 10, 2)).start().await;
    lottery.cluster.servers_mut()[0].stop().await.unwrap();
    lottery.cluster.servers_mut()[0].set("AGENCIES_AMOUNT", 1);
    lottery.cluster.servers_mut()[0].restart().await.unwrap();
    lottery.expect_alarm("server", "packet", "agency 2 is not one of 1 to 1");
    lottery.expect_alarm("client-2", "client", "refused: agency 2 is not one of 1 to 1 (is CLI_ID");
    assert_eq!(lottery.spawn(2).wait(common::LIMIT).await.unwrap().code(), Some(1));
    lottery.end().await;
}

#[tokio::test]
async fn an_edited_file_is_a_conflict_and_nothing_more_is_sent() {
    let mut lottery = Setup::new(1, 2).rows(1, &rows(1, 300, 1)).start().await;
    lottery.expect_alarm("client-1", "client", "conflict: the 300 rows that are stored");
    // The other agency is open: there is no draw, and this one is stopped while it waits.
    let mut client = lottery.spawn(1);
    let server = &lottery.cluster.servers()[0];
    server
        .wait_for("a close", common::LIMIT, |line| line.is("agencia_cerrada", "success"))
        .await
        .unwrap();
    client.kill().await.unwrap();
    let stored = lottery.stored();
    fs::write(lottery.bets.file(1), rows(1, 400, 1).replace("María 17,", "Maria 17,")).unwrap();
    let mut edited = lottery.spawn(1);
    let end = edited.wait(common::LIMIT).await.unwrap();
    assert_eq!(end.code(), Some(1));
    assert_eq!(end.printed, [""; 0]);
    assert_eq!(lottery.stored(), stored);
    lottery.end().await;
}

#[tokio::test]
async fn a_file_that_grew_after_its_close_is_refused() {
    let mut lottery = Setup::new(2, 1).rows(1, &rows(1, 300, 1)).start().await;
    lottery.expect_alarm(
        "client-1",
        "client",
        "conflict: 300 rows are stored of the agency, which is drawn",
    );
    lottery.run_clients().await;
    let stored = lottery.stored();
    fs::write(lottery.bets.file(1), rows(1, 301, 1)).unwrap();
    let mut late = lottery.spawn(1);
    assert_eq!(late.wait(common::LIMIT).await.unwrap().code(), Some(1));
    assert_eq!(lottery.stored(), stored);
    lottery.end().await;
}

#[tokio::test]
async fn batches_keep_within_both_limits() {
    let lottery = Setup::new(1, 3)
        .rows(1, &rows(1, 500, 1))
        .rows(2, &rows(2, 500, 1))
        .rows(3, &rows(3, 3_000, 1))
        .start()
        .await;
    let client = |agency, bets: u32, bytes: u32| {
        let launch = lottery.client(agency);
        let launch = launch.with("CLI_BATCH_SIZE", bets).with("CLI_MAX_PACKET_BYTES", bytes);
        lottery.cluster.spawn_client(agency, launch).unwrap()
    };
    let mut clients = vec![client(1, 1, 8_192), client(2, 1_000, 1_000), client(3, 3_000, 65_536)];
    lottery.finish_clients(&mut clients).await;
    lottery.assert_right();
    let packets = clients
        .iter()
        .map(|client| client.log().matching(|line| line.is("apuestas_enviadas", "success")));
    let packets: Vec<_> = packets.collect();
    let [first, second, third] = packets[..] else { panic!("{packets:?}") };
    assert!(first == 500 && (20..30).contains(&second) && (2..6).contains(&third), "{packets:?}");
    let log = lottery.cluster.servers()[0].log();
    let stored = log.matching(|line| line.is("apuestas_almacenadas", "success"));
    assert_eq!(stored, first + second + third);
    lottery.end().await;
}

#[tokio::test]
async fn one_bet_from_the_environment() {
    let lottery = Lottery::start(1, 1).await;
    let launch = lottery
        .client(1)
        .with("NOMBRE", "Santiago Lionel")
        .with("APELLIDO", "Lorca")
        .with("DOCUMENTO", "30904465")
        .with("NACIMIENTO", "1999-03-17")
        .with("NUMERO", WINNER);
    let mut client = lottery.cluster.spawn_client(1, launch).unwrap();
    let end = client.wait(common::LIMIT).await.unwrap();
    assert_eq!((end.code(), end.printed), (Some(0), vec!["30904465".to_owned()]));
    assert_eq!(lottery.stored(), "1,Santiago Lionel,Lorca,30904465,1999-03-17,7574\n");
    let log = client.log();
    assert_eq!(log.matching(|line| line.is("consulta_ganadores", "success")), 1);
    lottery.end().await;
}

#[tokio::test]
async fn a_client_that_is_stopped_while_it_reads_its_file_ends_well() {
    let lottery = Lottery::start(1, 1).await;
    let file = lottery.bets.file(1);
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let mut client = lottery.spawn(1);
    // A pipe is open when both ends are: from here on, the client reads, and there is no end.
    let opened = tokio::task::spawn_blocking(|| fs::OpenOptions::new().write(true).open(file));
    let _endless = opened.await.unwrap().unwrap();
    let status = client.stop().await.unwrap().expect("it ends by itself");
    assert_eq!(status.code(), Some(0));
    assert_eq!(client.log().matching(|line| line.is("shutdown", "success")), 1);
    lottery.end().await;
}

#[tokio::test]
async fn a_client_that_is_stopped_while_it_claims_its_number_ends_well() {
    let lottery = Lottery::start(1, 1).await;
    let claims = lottery.directory.path().join("claims");
    fs::create_dir(&claims).unwrap();
    let held = fs::File::create(claims.join("claims.lock")).unwrap();
    held.lock_exclusive().unwrap();
    let launch = lottery.client(1).with("CLI_ID", "auto").with("CLI_CLAIMS_DIR", claims.display());
    let mut client = lottery.cluster.spawn_client(1, launch).unwrap();
    let claims = |line: harness::log::LogLine<'_>| line.is("claim", "in_progress");
    timeout(common::LIMIT, client.log().wait_for(claims)).await.unwrap().expect("it claims");
    let status = client.stop().await.unwrap().expect("it ends by itself");
    assert_eq!(status.code(), Some(0));
    assert_eq!(client.log().matching(|line| line.is("shutdown", "success")), 1);
    lottery.end().await;
}

#[tokio::test]
async fn status_and_winners_are_told_without_sending() {
    let lottery = Setup::new(1, 1).rows(1, &rows(1, 10, 2)).start().await;
    let told = async |command: &str| {
        let mut launch = lottery.client(1);
        launch.arguments.push(command.to_owned());
        let ended = run(command, &launch, &lottery.directory).await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        ended.output.join("\n")
    };
    let before = told("status").await;
    assert!(before.contains("open"), "{before}");
    assert_eq!(lottery.stored(), "");
    lottery.run_clients().await;
    let after = told("status").await;
    assert!(after.contains("10") && after.contains("drawn"), "{after}");
    assert_eq!(told("winners").await, "1000000\n1000001");
    lottery.end().await;
}
