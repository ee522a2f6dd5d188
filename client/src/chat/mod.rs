//! `client chat`: a participant who talks to all and to one, over whichever instance answers.
//!
//! `participant` is the conversation: it reads, sends, and finds another instance when one goes.
//! `show` makes text of what happens; `terminal` and `plain` are its two forms, and `web` is a page. `direct` takes and
//! sends private messages straight between two clients; `talk` is that without a server.

mod connection;
mod direct;
mod keys;
mod participant;
mod plain;
mod show;
mod talk;
mod terminal;
mod web;

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use protocol::AgencyId;
use protocol::chat::{Message, MessageText, Name};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::{Chat, Talk};
use crate::settings::Config;

/// How many inputs, or events, may wait for each other's side.
const WAITING_MAX: usize = 256;

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Input {
    /// Say something to all.
    Say(MessageText<'static>),
    /// Say something to one.
    Private(Name, MessageText<'static>),
    /// Ask who is online.
    Who,
    /// Show what can be typed.
    Help,
    /// Leave.
    Exit,
    /// What was typed means nothing; says why.
    Wrong(String),
}

/// What a person is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Event {
    /// A line of the log.
    Line(Message),
    /// A private message that came, or went, straight.
    Direct {
        /// Who said it.
        from: Name,
        /// To whom.
        to: Name,
        /// What.
        text: String,
    },
    /// Who is online.
    Who(Vec<Name>),
    /// How many must still join before anyone reads.
    Missing(u64),
    /// Something of the connection, which people need not know.
    Debug(String),
    /// Something that people have to know.
    Note(String),
    /// What can be typed.
    Help,
}

impl Input {
    /// What a typed line means; nothing for an empty one.
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim();
        let text = |text: &str| MessageText::new(text.to_owned());
        Some(match line.split_once(' ').unwrap_or((line, "")) {
            ("", _) => return None,
            ("$exit", "") => Self::Exit,
            ("$who", "") => Self::Who,
            ("$help", "") => Self::Help,
            ("$private", rest) => {
                let (to, rest) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
                match (to.parse(), text(rest.trim_start())) {
                    (Ok(to), Ok(text)) => Self::Private(to, text),
                    (Err(_), _) => Self::Wrong("$private NAME TEXT: who is it for?".to_owned()),
                    (_, Err(error)) => Self::Wrong(format!("$private {to} TEXT: {error}")),
                }
            }
            (word, _) if word.starts_with('$') => {
                Self::Wrong(format!("{word} is no command; $help lists them"))
            }
            _ => match text(line) {
                Ok(text) => Self::Say(text),
                Err(error) => Self::Wrong(error.to_string()),
            },
        })
    }
}

/// Runs `client chat` until the person leaves, standard input ends, or `shutdown`.
///
/// # Errors
/// The name is refused, or the key cannot be kept, or no server answers at the start.
pub(crate) async fn run(
    arguments: &Chat,
    config: &Config,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let key = keys::Key::of(&config.claims_dir, &arguments.name)?;
    let agency = arguments.agency;
    let (events, shown) = mpsc::channel(WAITING_MAX);
    let (inputs, typed) = mpsc::channel(WAITING_MAX);
    let conversation = participant::Conversation {
        name: arguments.name.clone(),
        key,
        agency,
        takes_direct: !arguments.no_direct,
        config: config.clone(),
        events,
    };
    let style = show::Style::new(&arguments.name, arguments.debug);
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let ended = shutdown.child_token();
    let front = async {
        if let Some(port) = arguments.web {
            web::run(&arguments.name, port, inputs, shown).await
        } else if is_terminal {
            terminal::run(&arguments.name, style, inputs, shown).await
        } else {
            plain::run(style, inputs, shown).await
        }
    };
    let talking = participant::talk(conversation, typed, ended.clone());
    // The conversation ends the channel of events, and with it what shows them.
    let (talked, showed) = tokio::join!(talking, front);
    talked.and(showed)
}

/// Runs `client talk`: two people, no server.
///
/// # Errors
/// The other one cannot be reached, or the address cannot be listened on.
pub(crate) async fn run_talk(arguments: &Talk, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let (events, shown) = mpsc::channel(WAITING_MAX);
    let (inputs, typed) = mpsc::channel(WAITING_MAX);
    let style = show::Style::new(&arguments.name, arguments.debug);
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let talking = talk::run(arguments, events, typed, shutdown.clone());
    let front = async {
        if is_terminal {
            terminal::run(&arguments.name, style, inputs, shown).await
        } else {
            plain::run(style, inputs, shown).await
        }
    };
    let (talked, showed) = tokio::join!(talking, front);
    talked.context("talk").and(showed)
}

/// For whom a participant speaks.
type Agency = Option<AgencyId>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_has_one_meaning() {
        let say = |text: &str| Some(Input::Say(MessageText::new(text.to_owned()).unwrap()));
        assert_eq!(Input::parse("  "), None);
        assert_eq!(Input::parse("hello $who"), say("hello $who"));
        for (line, input) in
            [("$exit", Input::Exit), (" $who ", Input::Who), ("$help", Input::Help)]
        {
            assert_eq!(Input::parse(line), Some(input));
        }
        let text = MessageText::new("how are you?".to_owned()).unwrap();
        let private = Some(Input::Private("leo".parse().unwrap(), text));
        assert_eq!(Input::parse("$private leo how are you?"), private);
        assert_eq!(Input::parse("$private  leo  how are you?"), private);
        for line in ["$private", "$private leo", "$private a;b c", "$exit now", "$quit", "a\u{1b}b"]
        {
            assert!(matches!(Input::parse(line), Some(Input::Wrong(_))), "{line}");
        }
    }
}
