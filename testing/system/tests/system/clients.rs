//! Clients and servers together: every kind of file, run once and run again. What a client does
//! with each answer is shown in `client/tests/servers`.

use std::fs;
use std::process::Command;

use fs2::FileExt as _;
use harness::client_process::{ClientEnd, ClientProcess};

use crate::common::{LIMIT, Lottery, Setup, assert_has, logs, rows};

/// How many rows are stored of each agency, by the independent count.
fn stored(lottery: &Lottery) -> Vec<u64> {
    lottery.assert_right().agencies.iter().map(|agency| agency.stored).collect()
}

/// Every agency's client printed exactly its winners.
fn printed(ends: &[ClientEnd]) -> Vec<Vec<String>> {
    ends.iter().map(|end| end.printed.clone()).collect()
}

#[tokio::test]
async fn three_servers_five_agencies_and_again() {
    let mut setup = Setup::new(3, 5);
    for (agency, count, winners) in
        [(1, 12_000, 9_000), (2, 613, 3), (3, 101, 3), (4, 100, 2), (5, 99, 0)]
    {
        setup = setup.rows(agency, &rows(agency, count, winners));
    }
    let mut lottery = setup.start().await;
    let first = lottery.run_clients().await;
    assert_eq!(stored(&lottery), [12_000, 613, 101, 100, 99]);
    assert_eq!(printed(&first), lottery.winners());
    assert_eq!(lottery.winners().iter().map(Vec::len).collect::<Vec<_>>(), [9_000, 3, 3, 2, 0]);
    let (bets, draw) = (lottery.stored(), fs::read(lottery.volume.draw()).unwrap());
    // Again, on the same servers; and once more, on restarted ones.
    assert_eq!(lottery.run_clients().await, first);
    for place in 0..3 {
        lottery.restart(place).await;
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
    let empty = "agency-5.csv has no bets: the agency closes";
    lottery.expect_alarms("client-5", &["bets_read"], empty);
    let ends = lottery.run_clients().await;
    assert_eq!(stored(&lottery), [5, 2, 2, 1, 0, 2]);
    let winners: [&[&str]; 6] = [&["30904465", "3"], &["1"], &["1"], &["1"], &[], &["1", "1"]];
    assert_eq!(printed(&ends), winners);
    lottery.end().await;
}

#[tokio::test]
async fn a_malformed_file_is_refused_with_every_bad_line_and_nothing_is_sent() {
    let mut lottery = Setup::new(1, 1)
        .rows(1, "Ana,Paz,1,2000-01-01,7\nAna,Paz,1,2000-13-01,7\nAna,Paz,1\n,Paz,-,2000-01-01,x\n")
        .start()
        .await;
    for reason in ["has lines that are no bets", "line 2", "line 3", "line 4"] {
        lottery.expect_alarms("client-1", &["bets_read"], reason);
    }
    let ended = lottery.run("client-1", &lottery.client(1), 2).await;
    let bad = ["line 2: birthdate", "line 3", "line 4: first name", "; document is", "; number is"];
    assert_has(&ended.log, &bad);
    assert!(!ended.log.contains("line 1"), "{}", ended.log);
    assert_eq!(lottery.stored(), "");
    lottery.end().await;
}

#[tokio::test]
async fn an_edited_file_is_a_conflict_and_nothing_more_is_sent() {
    let mut lottery = Setup::new(2, 1).rows(1, &rows(1, 300, 1)).start().await;
    lottery.run_clients().await;
    let stored = lottery.stored();
    let edited = rows(1, 400, 1).replace("María 17,", "Maria 17,");
    for (name, rows, conflict) in [
        ("edited", edited, "conflict: the 300 rows that are stored"),
        ("grown", rows(1, 301, 1), "conflict: 300 rows are stored of the agency, which is drawn"),
    ] {
        lottery.expect_alarms(name, &["client"], conflict);
        fs::write(lottery.bets.file(1), rows).unwrap();
        let ended = lottery.run(name, &lottery.client(1), 1).await;
        assert_eq!(ended.output, [""; 0]);
        assert_eq!(lottery.stored(), stored);
    }
    lottery.end().await;
}

/// The client ends by itself, and well, when it is asked to.
async fn assert_stops(mut client: ClientProcess) {
    let status = client.stop().await.unwrap().expect("it ends by itself");
    assert_eq!(status.code(), Some(0));
    assert_eq!(client.log().matching(|line| line.is("shutdown", "success")), 1);
}

#[tokio::test]
async fn a_client_that_is_stopped_while_it_reads_its_file_ends_well() {
    let lottery = Lottery::start(1, 1).await;
    let file = lottery.bets.file(1);
    fs::remove_file(&file).unwrap();
    assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    let client = lottery.spawn(1);
    // A pipe is open when both ends are: from here on, the client reads, and there is no end.
    let opened = tokio::task::spawn_blocking(|| fs::OpenOptions::new().write(true).open(file));
    let _endless = tokio::time::timeout(LIMIT, opened).await.unwrap().unwrap().unwrap();
    assert_stops(client).await;
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
    let client = lottery.cluster.spawn_client(1, launch).unwrap();
    assert!(logs(&client, "claim", "in_progress").await);
    assert_stops(client).await;
    lottery.end().await;
}

#[tokio::test]
async fn the_commands_status_and_winners_send_no_bets() {
    let lottery = Setup::new(1, 1).rows(1, &rows(1, 10, 2)).start().await;
    let output = async |command: &str| {
        let mut launch = lottery.client(1);
        launch.arguments.push(command.to_owned());
        lottery.run(command, &launch, 0).await.output.join("\n")
    };
    assert_has(&output("status").await, &["open"]);
    assert_eq!(lottery.stored(), "");
    lottery.run_clients().await;
    assert_has(&output("status").await, &["10", "drawn"]);
    assert_eq!(output("winners").await, "1000000\n1000001");
    lottery.end().await;
}
