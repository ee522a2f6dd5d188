//! Clients and servers together: every kind of file, run once and run again. What a client does
//! with each answer is shown in `client/tests/servers`.

use std::fs;

use crate::common::{Setup, assert_has, rows};

#[tokio::test]
async fn every_kind_of_file_is_stored_once_however_often_it_is_sent() {
    let long = "ñ".repeat(50);
    let files = [
        // Many packets; a row more than a packet has; as many; and one fewer.
        rows(1, 12_000, 9_000),
        rows(2, 101, 3),
        rows(3, 100, 2),
        rows(4, 99, 0),
        // A comma, quotes, accents, and both at once.
        format!(
            "\"García, Ana\",\"O\"\"Higgins\",30904465,1999-03-17,7574\n\
             Íñigo,Muñoz,X1,2000-02-29,0\n\"\"\"Él\"\"\",\"Núñez, Ñ\",2,0001-01-01,9999\n\
             {long},{long},ABCDEFGHIJ1234567890,9999-12-31,0075\n 李, 王 ,3,2000-01-01,07574\n"
        ),
        // As another system writes it.
        "Ana,Paz,1,2000-01-01,7574\r\n\"Leo\",\"Sol\",2,2000-01-01,8\r\n".to_owned(),
        "Ana,Paz,1,2000-01-01,7574\nLeo,Sol,2,2000-01-02,8".to_owned(),
        "\u{feff}Ana,Paz,1,2000-01-01,7574\n".to_owned(),
        String::new(),
        // Two that are alike in all fields are two bets.
        "Ana,Paz,1,2000-01-01,7574\n".repeat(2),
    ];
    let setup = Setup::new(3, files.len() as u32);
    let setup = (1..).zip(&files).fold(setup, |setup, (agency, file)| setup.rows(agency, file));
    let mut lottery = setup.start().await;
    lottery.expect_alarms(
        "client-9",
        &["bets_read"],
        "agency-9.csv has no bets: the agency closes",
    );
    let first = lottery.run_clients().await;
    let right = lottery.assert_right();
    let stored: Vec<u64> = right.iter().map(|agency| agency.stored).collect();
    assert_eq!(stored, [12_000, 101, 100, 99, 5, 2, 2, 1, 0, 2]);
    let printed: Vec<_> = first.iter().map(|end| end.printed.clone()).collect();
    assert!(right.into_iter().map(|agency| agency.winners).eq(printed.iter().cloned()));
    assert_eq!([0, 1, 2, 3].map(|place| printed[place].len()), [9_000, 3, 2, 0]);
    let winners: [&[&str]; 6] = [&["30904465", "3"], &["1"], &["1"], &["1"], &[], &["1", "1"]];
    assert_eq!(&printed[4..], winners);
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
async fn of_a_malformed_or_edited_file_nothing_is_sent() {
    let malformed =
        "Ana,Paz,1,2000-01-01,7\nAna,Paz,1,2000-13-01,7\nAna,Paz,1\n,Paz,-,2000-01-01,x\n";
    let mut lottery = Setup::new(2, 1).rows(1, malformed).start().await;
    for reason in ["has lines that are no bets", "line 2", "line 3", "line 4"] {
        lottery.expect_alarms("malformed", &["bets_read"], reason);
    }
    let ended = lottery.run("malformed", &lottery.client(1), 2).await;
    let bad = ["line 2: birthdate", "line 3", "line 4: first name", "; document is", "; number is"];
    assert_has(&ended.log, &bad);
    assert!(!ended.log.contains("line 1"), "{}", ended.log);
    assert_eq!(lottery.stored(), "");
    fs::write(lottery.bets.file(1), rows(1, 300, 1)).unwrap();
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
