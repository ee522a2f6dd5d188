//! What is in the file, compared with what was acknowledged.

use std::collections::HashMap;

use harness::volume::Volume;
use oracle::head::Head;
use oracle::stored::{read, text};

use super::attack::Report;
use super::attacks::lines::BET;
use super::ordinary::{self, Agency};

/// Compares `bets.csv` with what was acknowledged to the ordinary agencies, which did
/// `ordinary`, and to the attack. Returns what is wrong.
///
/// # Errors
/// The file could not be read.
pub fn compare(
    volume: &Volume,
    ordinary: &[Agency],
    attack: &Report,
) -> anyhow::Result<Vec<String>> {
    let mut wanted = attack.stored.clone();
    for Agency { number, rows, .. } in ordinary {
        let head = wanted.entry(*number).or_default();
        (0..*rows).for_each(|place| head.push(&ordinary::bet(*number, place)));
    }
    let (mut stored, mut findings) = (HashMap::<u32, Head>::new(), Vec::new());
    let file = read(&volume.bets(), |row, agency, record| {
        // No field can contain the separator of the wire.
        let is_torn = record.len() != 6 || record.as_slice().contains(&b';');
        match agency {
            Some(agency) if !is_torn => {
                let fields: Vec<_> = record.iter().skip(1).collect();
                stored.entry(agency).or_default().push(&fields);
            }
            _ => findings.push(format!("row {row} is no row: {}", text(record.iter()))),
        }
        Ok(())
    })?;
    if !file.ends_with_a_line {
        findings.push("bets.csv does not end with a line end".to_owned());
    }
    for (agency, most) in &attack.unread {
        let mut head = Head::default();
        let rows = stored.get(agency).map_or(0, |head| head.rows).min(*most);
        let bet: Vec<&str> = BET.split(';').collect();
        (0..rows).for_each(|_| head.push(&bet));
        wanted.insert(*agency, head);
    }
    for agency in stored.keys().chain(wanted.keys().filter(|agency| !stored.contains_key(agency))) {
        let head = |heads: &HashMap<u32, Head>| heads.get(agency).copied().unwrap_or_default();
        let (is, should_be) = (head(&stored), head(&wanted));
        if is != should_be {
            findings.push(format!(
                "agency {agency}: rows and digest are {is} and should be {should_be}"
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const ORDINARY: u32 = 90_001;

    /// The rows of a right volume: four of an ordinary agency, one of an attack, one unread.
    fn rows() -> Vec<String> {
        let ordinary = |place| format!("{ORDINARY},{}\n", ordinary::bet(ORDINARY, place).join(","));
        let attack = "5,\"=1+1,\"\"x\"\"\",Paz,1,2000-01-01,7\n".to_owned();
        let unread = format!("6,{}\n", BET.replace(';', ","));
        vec![ordinary(0), attack, ordinary(1), ordinary(2), unread, ordinary(3)]
    }

    #[test]
    fn every_wrong_volume_is_found() {
        let mut report = Report::default();
        let row = ["=1+1,\"x\"", "Paz", "1", "2000-01-01", "7"];
        report.stored.entry(5).or_default().push(&row);
        report.unread.insert(6, 2);
        let directory = tempfile::tempdir().unwrap();
        let volume = Volume::new(directory.path());
        type Change = fn(&mut Vec<String>);
        let cases: [(Change, &str); 14] = [
            (|_| {}, ""),
            (|rows| drop(rows.remove(4)), ""),
            (|rows| rows.push(rows[4].clone()), ""),
            (|rows| drop(rows.remove(5)), "agency 90001: rows and digest are 3;"),
            (|rows| rows.push(rows[5].clone()), "agency 90001: rows and digest are 5;"),
            (|rows| rows.swap(2, 3), "agency 90001: rows and digest are 4;"),
            (|rows| drop(rows.remove(1)), "agency 5: rows and digest are 0;"),
            (|rows| rows[1] = rows[1].replace("Paz", "Sol"), "agency 5: rows and digest are 1;"),
            (|rows| rows.push(rows[1].replace("5,", "7,")), "agency 7: rows and digest are 1;"),
            (|rows| rows.extend([rows[4].clone(), rows[4].clone()]), "agency 6: rows and digest"),
            (|rows| rows[4] = rows[4].replace("Paz", "Sol"), "agency 6: rows and digest are 1;"),
            (|rows| rows[2].truncate(12), "row 3 is no row: 90001;"),
            (|rows| rows[3].insert(0, 'x'), "row 4 is no row: x90001;"),
            (|rows| rows[5].truncate(20), "bets.csv does not end with a line end"),
        ];
        for (change, wanted) in cases {
            let mut rows = rows();
            change(&mut rows);
            std::fs::write(volume.bets(), rows.concat()).unwrap();
            let ordinary = Agency { number: ORDINARY, rows: 4, slowest: Duration::ZERO };
            let found = compare(&volume, &[ordinary], &report).unwrap().join("\n");
            assert!(found.contains(wanted) && found.is_empty() == wanted.is_empty(), "{found}");
        }
    }
}
