//! What happens, as lines for people.

use std::io::{self, IsTerminal as _};

use protocol::chat::{Kind, Message, Name};

use super::Event;

/// How lines are shown.
#[derive(Debug, Clone)]
pub(super) struct Style {
    own: Name,
    /// Whether what people need not know is shown, too.
    debug: bool,
    has_colours: bool,
}

const HELP: &str = "\
type a line and Enter: everyone reads it
$private NAME TEXT   only NAME reads it
$who                 who is online
$exit                leave";

impl Style {
    pub(super) fn new(own: &Name, debug: bool) -> Self {
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let has_colours = io::stdout().is_terminal() && !wants_none;
        Self { own: own.clone(), debug, has_colours }
    }

    /// The event as text, without a line end; `None` if it is not shown.
    pub(super) fn text(&self, event: &Event) -> Option<String> {
        Some(match event {
            Event::Line(message) => return self.line(message),
            Event::Direct { from, to, text } => self.private(from.as_str(), to.as_str(), text),
            Event::Who(names) => {
                let names: Vec<_> = names.iter().map(Name::as_str).collect();
                self.dim(&format!("{} online: {}", names.len(), names.join(", ")))
            }
            Event::Missing(0) => return None,
            Event::Missing(1) => self.dim("lines are shown as soon as one more has joined"),
            Event::Missing(missing) => {
                self.dim(&format!("lines are shown as soon as {missing} more have joined"))
            }
            Event::Debug(_) if !self.debug => return None,
            Event::Debug(text) => self.dim(&format!("[{text}]")),
            Event::Note(text) => self.strong(text),
            Event::Help => self.dim(HELP),
        })
    }

    fn line(&self, message: &Message) -> Option<String> {
        let Message { position, kind, from, to, text, .. } = message;
        let text = match kind {
            Kind::Message => format!("{}: {text}", self.name(from)),
            Kind::Private => self.private(from, to, text),
            Kind::Notice => self.strong(&format!("NOTICE: {text}")),
            Kind::Join if text.is_empty() => self.dim(&format!("{from} has joined")),
            Kind::Join => self.dim(&format!("{from} has joined, for agency {text}")),
            Kind::Leave => self.dim(&format!("{from} has left")),
            Kind::Active => self.dim("enough have joined: everyone reads everything from here on"),
            Kind::Event => self.dim(&format!("* {text}")),
            Kind::Hidden => return self.debug.then(|| self.dim(&format!("[{position} hidden]"))),
        };
        Some(if self.debug {
            format!("{} {text}", self.dim(&format!("[{position}]")))
        } else {
            text
        })
    }

    fn private(&self, from: &str, to: &str, text: &str) -> String {
        format!("{} {} to {}: {text}", self.strong("(PRIVATE)"), self.name(from), self.name(to))
    }

    fn name(&self, name: &str) -> String {
        let code = if name == self.own.as_str() { "36" } else { "32" };
        self.in_colour(code, name)
    }

    fn dim(&self, text: &str) -> String {
        self.in_colour("2", text)
    }

    fn strong(&self, text: &str) -> String {
        self.in_colour("1", text)
    }

    fn in_colour(&self, code: &str, text: &str) -> String {
        if self.has_colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: Kind, from: &str, to: &str, text: &str) -> Event {
        let [from, to, text] = [from, to, text].map(str::to_owned);
        Event::Line(Message { position: 7, time: 0, kind, from, to, text })
    }

    #[test]
    fn every_line_says_who_and_what() {
        let name: Name = "ana".parse().unwrap();
        let style = |debug| Style { own: name.clone(), debug, has_colours: false };
        for (event, text, debug) in [
            (message(Kind::Message, "leo", "", "a: b"), Some("leo: a: b"), Some("[7] leo: a: b")),
            (
                message(Kind::Private, "leo", "ana", "psst"),
                Some("(PRIVATE) leo to ana: psst"),
                Some("[7] (PRIVATE) leo to ana: psst"),
            ),
            (
                message(Kind::Join, "leo", "", "3"),
                Some("leo has joined, for agency 3"),
                Some("[7] leo has joined, for agency 3"),
            ),
            (message(Kind::Hidden, "", "", ""), None, Some("[7 hidden]")),
            (Event::Debug("connected".into()), None, Some("[connected]")),
            (Event::Missing(0), None, None),
            (
                Event::Missing(2),
                Some("lines are shown as soon as 2 more have joined"),
                Some("lines are shown as soon as 2 more have joined"),
            ),
            (Event::Who(vec![name.clone()]), Some("1 online: ana"), Some("1 online: ana")),
        ] {
            assert_eq!(style(false).text(&event).as_deref(), text, "{event:?}");
            assert_eq!(style(true).text(&event).as_deref(), debug, "{event:?}");
        }
        let colours = Style { own: name.clone(), debug: false, has_colours: true };
        let shown = colours.text(&message(Kind::Message, "ana", "", "x")).unwrap();
        assert_eq!(shown, "\u{1b}[36mana\u{1b}[0m: x");
    }
}
