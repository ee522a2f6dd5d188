//! Whatever is asked in whatever groups: what is decided is what the lines say, and the log keeps
//! its promises.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::collections::{BTreeMap, BTreeSet};

use messages::{Command, Decision, Join, Line, LineKind, State, message_for};
use proptest::prelude::*;
use protocol::chat::{ChatRefusal, DirectAddress, Kind, MessageText, Name};

const MINIMUM: u64 = 2;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn join(who: &str, key: u8, instance: &str) -> Command {
    Command::Join(Join {
        name: name(who),
        key_hash: [key; 32],
        agency: None,
        address: DirectAddress(None),
        instance: instance.to_owned(),
    })
}

fn send(from: &str, sequence: u64, to: Option<&str>, text: &str) -> Command {
    let text = MessageText::new(text).unwrap().into_owned();
    Command::Send { from: name(from), sequence, to: to.map(name), text }
}

/// Decides the commands as one group, and applies its lines.
fn decide(state: &mut State, log: &mut Vec<Line>, group: &[Command]) -> Vec<Decision> {
    let mut plan = state.plan(7);
    let decisions = group.iter().map(|command| plan.decide(command)).collect();
    for line in plan.into_lines() {
        assert!(state.apply(&line), "{line:?}");
        log.push(line);
    }
    decisions
}

#[test]
fn a_name_belongs_to_the_key_that_took_it() {
    let (mut state, mut log) = (State::new(0), Vec::new());
    let group =
        [join("ana", 1, "a"), join("ana", 2, "a"), join("ana", 1, "b"), join("ana", 1, "b")];
    let decisions = decide(&mut state, &mut log, &group);
    assert!(matches!(decisions[1], Decision::Refuse(ChatRefusal::Key, _)));
    let kinds: Vec<_> = log.iter().map(|line| line.kind).collect();
    assert_eq!(
        kinds,
        [LineKind::Join, LineKind::Move],
        "a move is silent, and the same is nothing"
    );
    assert_eq!(message_for(&name("leo"), 2, &log[1]).kind, Kind::Hidden);
    let leave =
        |instance: &str| Command::Leave { name: name("ana"), instance: Some(instance.to_owned()) };
    decide(&mut state, &mut log, &[leave("a")]);
    assert_eq!(state.view().online, 1, "another instance answers for her");
    decide(&mut state, &mut log, &[leave("b"), leave("b")]);
    assert_eq!((state.view().online, log.len()), (0, 3));
}

#[test]
fn messages_of_one_sender_are_stored_once_and_in_order() {
    let (mut state, mut log) = (State::new(0), Vec::new());
    let group = [
        send("ana", 1, None, "too early"),
        join("ana", 1, "a"),
        send("ana", 2, None, "two"),
        send("ana", 1, None, "one"),
        send("ana", 2, Some("leo"), "two"),
        send("ana", 2, None, "two"),
        send("ana", 1, None, "one"),
    ];
    let decisions = decide(&mut state, &mut log, &group);
    assert!(matches!(decisions[0], Decision::Refuse(ChatRefusal::Join, _)));
    assert!(matches!(decisions[2], Decision::Refuse(ChatRefusal::Gap, _)));
    assert!(matches!(decisions[4], Decision::Refuse(ChatRefusal::To, _)));
    assert_eq!(decisions[3], Decision::Stored(2));
    assert_eq!(decisions[5..], [Decision::Stored(3), Decision::Stored(2)]);
    let again = decide(&mut state, &mut log, &group[5..]);
    assert_eq!((again, log.len()), (decisions[5..].to_vec(), 3));
}

#[test]
fn an_event_is_stored_once_until_another_one_of_its_subject() {
    let (mut state, mut log) = (State::new(0), Vec::new());
    let event = |word: &str| Command::Event {
        subject: "server-1".to_owned(),
        word: word.to_owned(),
        text: format!("server-1 has {word}"),
    };
    decide(&mut state, &mut log, &[event("started"), event("started"), event("ended")]);
    decide(&mut state, &mut log, &[event("ended"), event("started")]);
    let words: Vec<_> = log.iter().map(|line| line.to.as_str()).collect();
    assert_eq!(words, ["started", "ended", "started"]);
}

fn command() -> impl Strategy<Value = Command> {
    let who = || prop_oneof![Just("ana"), Just("leo"), Just("eva")];
    prop_oneof![
        3 => (who(), 1..=2_u8, prop_oneof![Just("a"), Just("b")])
            .prop_map(|(who, key, instance)| join(who, key, instance)),
        6 => (who(), 1..6_u64, proptest::option::of(who()))
            .prop_map(|(from, sequence, to)| send(from, sequence, to, "a, \"b\"")),
        2 => who().prop_map(|who| Command::Leave { name: name(who), instance: None }),
        1 => proptest::option::of(who()).prop_map(|to| Command::Notice {
            to: to.map(name),
            text: MessageText::new("n").unwrap().into_owned(),
        }),
        1 => prop_oneof![Just("closed"), Just("drawn")].prop_map(|word| Command::Event {
            subject: "agency-3".to_owned(),
            word: word.to_owned(),
            text: word.to_owned(),
        }),
    ]
}

/// What the log says, counted anew from its lines.
fn check(log: &[Line], state: &State) {
    let (mut online, mut sent) = (BTreeSet::new(), BTreeMap::<_, u64>::new());
    let mut active_at = None;
    for (position, line) in (1..).zip(log) {
        match line.kind {
            LineKind::Join => assert!(online.insert(&line.from)),
            LineKind::Move => assert!(online.contains(&line.from)),
            LineKind::Leave => assert!(online.remove(&line.from)),
            LineKind::Active => {
                assert_eq!((active_at.replace(position), online.len()), (None, MINIMUM as usize));
            }
            LineKind::Message | LineKind::Private => {
                let count = sent.entry(&line.from).or_default();
                *count += 1;
                assert_eq!(*count, line.sequence);
                assert_eq!(state.position(&name(&line.from), line.sequence), Some(position));
            }
            LineKind::Notice | LineKind::Event => {}
        }
        for reader in ["ana", "leo", "eva"] {
            let message = message_for(&name(reader), position, line);
            assert_eq!(message.position, position);
            let is_for_reader = match line.kind {
                LineKind::Private => line.from == reader || line.to == reader,
                LineKind::Notice => line.to.is_empty() || line.to == reader,
                kind => kind != LineKind::Move,
            };
            assert_eq!(message.kind != Kind::Hidden, is_for_reader);
            assert!(is_for_reader || message.from.is_empty() && message.text.is_empty());
        }
    }
    let view = state.view();
    assert_eq!(view.online, online.len() as u64);
    assert_eq!(view.position, if active_at.is_some() { log.len() as u64 } else { 0 });
    let missing = MINIMUM.saturating_sub(view.online);
    assert_eq!(view.missing, if active_at.is_some() { 0 } else { missing });
}

proptest! {
    #[test]
    fn whatever_is_asked_the_log_keeps_its_promises(
        groups in proptest::collection::vec(proptest::collection::vec(command(), 0..8), 0..12),
    ) {
        let (mut state, mut log) = (State::new(MINIMUM), Vec::new());
        for group in &groups {
            let decisions = decide(&mut state, &mut log, group);
            // Asked again, nothing that was stored is stored again.
            let sends: Vec<_> = group.iter().zip(&decisions)
                .filter(|(it, decision)| matches!((it, decision), (Command::Send { .. }, Decision::Stored(_))))
                .collect();
            let again: Vec<_> = sends.iter().map(|(command, _)| (*command).clone()).collect();
            let wanted: Vec<_> = sends.into_iter().map(|(_, decision)| decision.clone()).collect();
            let before = log.len();
            prop_assert_eq!(decide(&mut state, &mut log, &again), wanted);
            prop_assert_eq!(log.len(), before);
        }
        check(&log, &state);
        // An instance that reads the file knows the same.
        let (mut file, mut read) = (Vec::new(), State::new(MINIMUM));
        for line in &log {
            let start = file.len();
            line.write(&mut file);
            let parsed = Line::parse(&file[start..]).unwrap();
            prop_assert_eq!(&parsed, line);
            read.apply(&parsed);
        }
        prop_assert_eq!(format!("{:?}", read.online()), format!("{:?}", state.online()));
        prop_assert_eq!(read.view(), state.view());
    }
}
