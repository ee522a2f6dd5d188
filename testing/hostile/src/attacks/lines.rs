//! Lines that are wrong, strange, or cheap to send and more to answer; each is owed one answer.

use anyhow::Context as _;
use tokio::task::JoinSet;

use super::stalls::Flood;
use super::{Conversation, crowd, join};
use crate::attack::{Report, Target};

/// A bet as it stands in a packet.
pub const BET: &str = "Ana;Paz;30876370;1990-05-17;7574";

/// How many agencies a round of formulas stores for.
const FORMULA_AGENCIES: u32 = 50;

/// The first agency of the questions.
const FIRST_ASKED: u32 = 70_001;

/// A piece of a line that never ends.
const ENDLESS: &str = "xxxxxxxxxxxxxxxx";

/// Pieces that no field may hold, of which the last two are control sequences.
const BAD_PIECES: &[u8] =
    b"\xff|\xc3|\xed\xa0\x80|\xf8\x88\x80\x80\x80|\xc0\x80|\0|\r|\x7f|\x1b[2J";

/// Names that a spreadsheet would compute, separated by tabs.
const FORMULAS: &str = "=1+1\t+cmd|' /C calc'!A0\t-2+3\t@SUM(A1,A2)\t=HYPERLINK(\"http\",\"x\")\t\
    \"\t'\ta,b\t\"\"\t=\"a\",b\t%0A\t<b>x</b>\t' DROP TABLE bets --\tJosé Ñandú\t =1 ";

/// Lines that never end, on many connections, and lines that are too long, by one byte and by far.
pub async fn long_lines(target: &Target) -> anyhow::Result<Report> {
    let mut conversation = Conversation::open(target.address).await?;
    let all = crowd(target.address, target.scale.stalls, None).await?;
    let mut flood = Flood::new(all, |_| ENDLESS.to_owned());
    flood.fill_all(target).await;
    target.ready.notify_one();
    while !target.stop.is_cancelled() {
        flood.fill();
        for head in ["StoreBatch:1;Ana", "StoreRows:1;1", "AgencyClose:1;", "AgencyStatus:1", ""] {
            for bytes in [64 * 1024, 64 * 1024 + 1, 100 * 1024] {
                let bets = format!(":{BET}").repeat(bytes / BET.len());
                let line = format!("{head}{bets}");
                conversation.reopen().await?;
                conversation.ask(&[line.get(..bytes).context("cut a line")?]).await?;
            }
        }
    }
    let mut report = flood.report();
    report.add(conversation.report());
    Ok(report)
}

/// Bytes that no field may hold, in each place of a packet.
pub async fn bad_bytes(target: &Target) -> anyhow::Result<Report> {
    let mut conversation = Conversation::open(target.address).await?;
    target.ready.notify_one();
    let pieces: Vec<&[u8]> = BAD_PIECES.split(|byte| *byte == b'|').collect();
    for piece in pieces.into_iter().cycle() {
        for head in ["StoreBet:1;", "StoreBatch:1;", "StoreRows:1;1:"] {
            if target.stop.is_cancelled() {
                return Ok(conversation.report());
            }
            conversation.reopen().await?;
            for place in 0..5 {
                let fields = BET.split(';').enumerate();
                let bad = |(field, text): (usize, &'static str)| {
                    if field == place { piece } else { text.as_bytes() }
                };
                let fields: Vec<&[u8]> = fields.map(bad).collect();
                conversation.add(&[head.as_bytes(), &fields.join(&b';')].concat());
            }
            conversation.exchange().await?;
        }
        conversation.ask(&[piece, &[b"AgencyStatus:", piece].concat()]).await?;
    }
    Ok(conversation.report())
}

/// Names that a spreadsheet would compute. They are names: stored byte for byte.
pub async fn formulas(target: &Target) -> anyhow::Result<Report> {
    let mut conversation = Conversation::open(target.address).await?;
    target.ready.notify_one();
    let names: Vec<&str> = FORMULAS.split('\t').collect();
    let first = target.round * FORMULA_AGENCIES + 1;
    for agency in (first..first + FORMULA_AGENCIES).cycle() {
        if target.stop.is_cancelled() {
            break;
        }
        for (first, last) in names.iter().zip(names.iter().cycle().skip(3)) {
            let line = format!("StoreBet:{agency};{first};{last};1;2000-01-01;007");
            conversation.ask(&[line]).await?;
        }
    }
    Ok(conversation.report())
}

/// Questions, rows and closes that are refused only after a look at what is stored, and what is
/// stored or closed already, as fast as they are answered, on many connections.
pub async fn questions(target: &Target) -> anyhow::Result<Report> {
    // Nothing is ever stored for the first, the second has closed without a bet, the third has one.
    let empty = FIRST_ASKED + 3 * target.round;
    let (closed, stored) = (empty + 1, empty + 2);
    let questions = [
        vec![format!("AgencyStatus:{empty}")],
        vec![format!("StoreRows:{empty};99:{BET}")],
        vec![format!("AgencyClose:{empty};77")],
        vec![format!("AgencyClose:{closed}"), format!("AgencyClose:{closed};0")],
        vec![format!("StoreRows:{stored};1:{BET}")],
    ];
    let mut first = Conversation::open(target.address).await?;
    for question in &questions {
        first.ask(question).await?;
    }
    let mut all = JoinSet::new();
    for _ in 0..target.scale.stalls {
        let mut conversation = Conversation::open(target.address).await?;
        conversation.agencies = first.agencies.clone();
        // The server delays no connection after its first question.
        conversation.ask(&questions[0]).await?;
        let (questions, stop) = (questions.clone(), target.stop.clone());
        all.spawn(async move {
            for question in questions.iter().cycle() {
                if stop.is_cancelled() {
                    break;
                }
                conversation.ask(question).await?;
            }
            Ok(conversation.report())
        });
    }
    target.ready.notify_one();
    join(all, first.report()).await
}
