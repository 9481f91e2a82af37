//! The report for people: aligned tables. Knows the rows and nothing of how they came about.

mod cost;
mod crowd;
mod layout;
mod load;
mod storm;

use std::fmt::Write;

use super::report::Report;
use layout::thousands;

/// The whole report as text.
pub(super) fn text(report: &Report) -> String {
    let mut out = String::new();
    let floor = report.floor_w1_per_cpu_second.map_or("unknown".to_owned(), thousands);
    let _ = writeln!(
        out,
        "{} repetition(s) of {} s; medians. The floor reached {floor} deliveries per CPU second in W1.",
        report.reps, report.seconds
    );
    if report.disturbed {
        let _ = writeln!(out, "DISTURBED: the floor is too low here; no ratio is given.");
    }
    load::all(&mut out, report);
    crowd::all(&mut out, report);
    storm::all(&mut out, report);
    cost::all(&mut out, report);
    out
}
