//! The result for programs: one JSON object.

use crate::crowd::Crowd;
use crate::numbers::{reasons, refusals};
use crate::report::Report;
use crate::tally::{Failure, Outcome};

/// One line, one object; every key is a plain word, so nothing needs escaping.
pub(crate) fn of(report: &Report<'_>) -> String {
    let Outcome { counts: honest, reply, first_reply } = report.honest();
    let named = |pairs: Vec<(&'static str, u64)>| {
        object(pairs.into_iter().map(|(name, count)| (name, count.to_string())))
    };
    let crowds = Crowd::ALL.map(|crowd| {
        let counts = &report.told.outcomes[crowd as usize].counts;
        let fields = [
            ("clients", report.plan.clients(crowd).to_string()),
            ("connected", counts.connected.to_string()),
            ("answered", counts.answered.to_string()),
            ("cut", counts.cut.to_string()),
            ("left", counts.left.to_string()),
            ("kept", counts.open.to_string()),
            ("ended", named(reasons(&report.books.ended[crowd as usize]))),
        ];
        (crowd.as_str(), object(fields))
    });
    let failures = Failure::ALL.map(|failure| (failure.as_str(), honest.failed[failure as usize]));
    object([
        ("passed", report.holds().to_string()),
        ("honest_requests", honest.asked.to_string()),
        ("honest_answered", honest.answered.to_string()),
        ("honest_failures", honest.failures().to_string()),
        ("failures_by_kind", named(failures.into())),
        ("refused", report.refused().to_string()),
        ("refused_by_reason", named(refusals(&report.books.refused))),
        ("opened", report.books.opened.to_string()),
        ("closed", report.books.closed.iter().sum::<u64>().to_string()),
        ("closed_by_reason", named(reasons(&report.books.closed))),
        ("p50_us", reply.p50_us.to_string()),
        ("p90_us", reply.p90_us.to_string()),
        ("p99_us", reply.p99_us.to_string()),
        ("p999_us", reply.p999_us.to_string()),
        ("max_us", reply.max_us.to_string()),
        ("connect_p50_us", first_reply.p50_us.to_string()),
        ("connect_p99_us", first_reply.p99_us.to_string()),
        ("bytes_per_idle_connection", or_null(report.idle.map(|idle| idle.bytes))),
        ("drain_ms", or_null(report.drain.took.map(|took| took.as_millis()))),
        ("drained", (report.drain.times > 0).to_string()),
        ("server_waited_ms", report.waited.as_millis().to_string()),
        ("clients_waited_ms", report.told.waited.as_millis().to_string()),
        ("clients_late_ms", report.told.late.as_millis().to_string()),
        ("crowds", object(crowds)),
    ])
}

fn or_null(value: Option<impl ToString>) -> String {
    value.map_or("null".into(), |value| value.to_string())
}

/// A JSON object of values that are JSON already, under keys that need no escapes.
fn object(fields: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_nest() {
        let inner = object([("a", "1".to_string())]);
        assert_eq!(object([("b", inner), ("c", "null".into())]), r#"{"b":{"a":1},"c":null}"#);
    }
}
