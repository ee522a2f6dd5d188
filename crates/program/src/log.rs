//! Log lines on standard error, in the reference's form or as JSON.
//!
//! A line consists of an event's fields in their order, of which `action` and `result` are the
//! first. `info!(action = "sorteo", result = "success")` is logged as
//! `2026-01-31 10:00:00 INFO     action: sorteo | result: success`.
//!
//! Scripts read the ends of the reference's lines, so a text line ends with the reference's fields.
//! A further field is named `json.x`: it is the field `x` of the JSON form and not in the text.
//! `warning_limiter` limits the number of warnings.
//!
//! **Invariant**: an event is one line. Control characters in a value are replaced by blanks.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Local, Utc};
use serde::Serializer as _;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level as EventLevel, Metadata, Subscriber, error};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::warning_limiter::WarningLimiter;

/// The target of events that end the program. An ERROR with it is logged as CRITICAL.
pub const CRITICAL: &str = "critical";

/// The prefix of the names of fields that are not in the text form.
const JSON_ONLY: &str = "json.";

/// The lowest level that is logged, with the names of the reference's server. The names of the
/// reference's client are accepted, too, because Compose sets one level for both programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Everything; `trace` of the reference's client.
    NotSet,
    /// Details for finding faults.
    Debug,
    /// Events of bets, closes and draws.
    Info,
    /// Problems that the program handled.
    Warning,
    /// Problems that a person must look at.
    Error,
    /// Errors that end the program; `fatal` and `panic` of the reference's client.
    Critical,
}

impl Level {
    /// The allowed words, for a setting's error message.
    pub const ALLOWED: &str = "one of NOTSET, DEBUG, INFO, WARNING, ERROR, CRITICAL (or trace, \
                               warn, fatal, panic; any case)";

    fn filter(self) -> LevelFilter {
        match self {
            Self::NotSet => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
        }
    }

    fn of(event: &Metadata<'_>) -> Self {
        match *event.level() {
            EventLevel::ERROR if event.target() == CRITICAL => Self::Critical,
            EventLevel::ERROR => Self::Error,
            EventLevel::WARN => Self::Warning,
            EventLevel::INFO => Self::Info,
            EventLevel::DEBUG => Self::Debug,
            EventLevel::TRACE => Self::NotSet,
        }
    }
}

impl FromStr for Level {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Ok(match text.to_ascii_uppercase().as_str() {
            "NOTSET" | "TRACE" => Self::NotSet,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARNING" | "WARN" => Self::Warning,
            "ERROR" => Self::Error,
            "CRITICAL" | "FATAL" | "PANIC" => Self::Critical,
            _ => return Err(()),
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotSet => "NOTSET",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Critical => "CRITICAL",
        })
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The form of the reference system.
    Text,
    /// One JSON object a line.
    Json,
}

impl Form {
    /// The allowed words, for a setting's error message.
    pub const ALLOWED: &str = "text or json";
}

impl FromStr for Form {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Starts logging for the whole process. A second call has no effect.
pub fn init(level: Level, form: Form) {
    let critical_only =
        FilterFn::new(move |event| level != Level::Critical || Level::of(event) == Level::Critical);
    let limiter = WarningLimiter::default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .event_format(LineFormat { form, limiter: limiter.clone(), stamp: Mutex::default() })
        .with_filter(limiter)
        .with_filter(level.filter())
        .with_filter(critical_only);
    // The only error is that logging has started already.
    let _ = tracing_subscriber::registry().with(lines).try_init();
}

/// Logs each line of `errors`, which are those of the command line or the settings, as CRITICAL.
/// Starts logging itself, because there are no settings yet that say how to log.
pub fn tell_wrong_settings(errors: &str) {
    init(Level::Info, Form::Text);
    for error in errors.lines() {
        error!(target: CRITICAL, action = "config", result = "fail", error);
    }
}

struct LineFormat {
    form: Form,
    limiter: WarningLimiter,
    stamp: Mutex<Stamp>,
}

/// The local time as text, which is formatted once a second, because formatting it takes longer
/// than the rest of a line.
#[derive(Debug, Default)]
struct Stamp {
    /// The Unix time of `text`, in seconds.
    second: i64,
    text: String,
}

impl Stamp {
    fn at(&mut self, now: DateTime<Utc>) -> &str {
        if self.text.is_empty() || self.second != now.timestamp() {
            self.second = now.timestamp();
            self.text = now.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string();
        }
        &self.text
    }
}

impl LineFormat {
    fn write_stamp(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let mut stamp = self.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_str(stamp.at(Utc::now()))
    }
}

impl<S, N> FormatEvent<S, N> for LineFormat
where
    S: Subscriber + for<'l> LookupSpan<'l>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = EventFields(Vec::new());
        event.record(&mut fields);
        fields.0.extend(self.limiter.notes(event.metadata()));
        let level = Level::of(event.metadata());
        match self.form {
            Form::Text => {
                self.write_stamp(&mut writer)?;
                write!(writer, " {level:<8} ")?;
                fields.write_text(&mut writer)?;
            }
            Form::Json => writer.write_str(&fields.to_json(level).ok_or(fmt::Error)?)?,
        }
        writer.write_char('\n')
    }
}

struct EventFields(Vec<(&'static str, Value)>);

impl EventFields {
    fn write_text(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let in_text = self.0.iter().filter(|(name, _)| !name.starts_with(JSON_ONLY));
        for (place, (name, value)) in in_text.enumerate() {
            if place > 0 {
                writer.write_str(" | ")?;
            }
            if *name != "message" {
                write!(writer, "{name}: ")?;
            }
            match value {
                Value::String(text) => write_one_line(writer, text)?,
                other => write!(writer, "{other}")?,
            }
        }
        Ok(())
    }

    fn to_json(&self, level: Level) -> Option<String> {
        let time = Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let head = [("time", Value::from(time)), ("level", Value::from(level.to_string()))];
        let json_name = |name: &'static str| name.strip_prefix(JSON_ONLY).unwrap_or(name);
        let mut line = Vec::new();
        serde_json::Serializer::new(&mut line)
            .collect_map(head.iter().chain(&self.0).map(|(name, value)| (json_name(name), value)))
            .ok()?;
        String::from_utf8(line).ok()
    }
}

fn write_one_line(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    text.chars().try_for_each(|c| writer.write_char(if c.is_control() { ' ' } else { c }))
}

impl Visit for EventFields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), Value::from(format!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((field.name(), Value::from(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.push((field.name(), Value::from(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.push((field.name(), Value::from(value)));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.push((field.name(), Value::from(value)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.push((field.name(), Value::from(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_the_reference_form_in_one_line_and_json_has_fields_of_its_own() {
        let fields = EventFields(vec![
            ("action", Value::from("apuesta_almacenada")),
            ("dni", Value::from("30904465\n2026")),
            ("json.agencia", Value::from(1)),
            ("numero", Value::from(7574)),
        ]);
        let mut line = String::new();
        fields.write_text(&mut Writer::new(&mut line)).unwrap();
        assert_eq!(line, "action: apuesta_almacenada | dni: 30904465 2026 | numero: 7574");
        let line = fields.to_json(Level::Warning).unwrap();
        let wanted = r#""dni":"30904465\n2026","agencia":1,"numero":7574}"#;
        assert!(
            line.ends_with(wanted) && line.contains(r#""level":"WARNING","action":"#),
            "{line}"
        );
    }

    #[test]
    fn the_time_is_formatted_again_in_another_second() {
        let mut stamp = Stamp::default();
        for (second, nanoseconds) in [(0, 0), (0, 999_999_999), (1, 0), (86_400, 5), (0, 0)] {
            let now = DateTime::from_timestamp(second, nanoseconds).unwrap();
            let wanted = now.with_timezone(&Local).format("%Y-%m-%d %H:%M:%S").to_string();
            assert_eq!(stamp.at(now), wanted);
        }
    }

    #[test]
    fn levels_are_read_by_their_names() {
        for (text, level) in [
            ("NOTSET", Level::NotSet),
            ("trace", Level::NotSet),
            ("debug", Level::Debug),
            ("Info", Level::Info),
            ("warning", Level::Warning),
            ("WARN", Level::Warning),
            ("error", Level::Error),
            ("critical", Level::Critical),
            ("fatal", Level::Critical),
            ("panic", Level::Critical),
        ] {
            assert_eq!(text.parse(), Ok(level));
        }
        assert_eq!("loud".parse::<Level>(), Err(()));
    }
}
