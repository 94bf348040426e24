//! What counts, in the words by which a CI system marks lines of code.
//!
//! # Sources
//! GitHub, "Workflow commands for GitHub Actions"; Microsoft, "Logging commands" of Azure Pipelines;
//! JetBrains, "Service messages" of TeamCity. GitLab and Jenkins read the JUnit file.

use super::model::{Check, CheckFinding, Status};
use super::sarif::relative;
use super::words::place;
use crate::printable::printable;

/// Places that are annotated: GitHub shows ten of a step.
const MAX_SHOWN: usize = 10;

/// A CI system that reads annotations from what a step prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CiSystem {
    /// GitHub Actions, and what reads its commands (Forgejo, Gitea).
    GitHub,
    /// Azure Pipelines.
    Azure,
    /// TeamCity.
    TeamCity,
}

impl CiSystem {
    /// The one that this environment is of.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let is = |name: &str, value: &str| {
            variable(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
        };
        if is("GITHUB_ACTIONS", "true") {
            return Some(CiSystem::GitHub);
        }
        if is("TF_BUILD", "true") {
            return Some(CiSystem::Azure);
        }
        variable("TEAMCITY_VERSION").filter(|version| !version.is_empty())?;
        Some(CiSystem::TeamCity)
    }
}

/// Lines for the step's output; none where all is well.
pub fn render(check: &Check, system: CiSystem, root: &str) -> String {
    if check.status == Status::Clean {
        return String::new();
    }
    let counts = check.findings.iter().filter(|finding| finding.disposition.counts());
    let mut lines: Vec<String> = match check.status {
        Status::Growth => counts
            .take(MAX_SHOWN)
            .map(|finding| {
                let text = format!("{} held since {}", finding.pattern, place(finding));
                line(system, &text, source(finding, root))
            })
            .collect(),
        _ => vec![line(system, &check.sentence, None)],
    };
    if system == CiSystem::TeamCity {
        lines.push(format!(
            "##teamcity[buildProblem description='{}']",
            for_teamcity(&check.sentence)
        ));
    }
    lines.iter().map(|line| line.clone() + "\n").collect()
}

fn source<'a>(finding: &'a CheckFinding, root: &str) -> Option<(&'a str, u32)> {
    let frame = finding.place()?;
    Some((relative(frame.file.as_deref()?, root)?, frame.line?))
}

fn line(system: CiSystem, text: &str, source: Option<(&str, u32)>) -> String {
    let text = printable(text);
    match (system, source) {
        (CiSystem::GitHub, Some((file, line))) => format!(
            "::error file={},line={line},title=outlive check::{}",
            for_github(file, true),
            for_github(&text, false)
        ),
        (CiSystem::GitHub, None) => {
            format!("::error title=outlive check::{}", for_github(&text, false))
        }
        (CiSystem::Azure, Some((file, line))) => format!(
            "##vso[task.logissue type=error;sourcepath={};linenumber={line};]{}",
            for_azure(file),
            for_azure(&text)
        ),
        (CiSystem::Azure, None) => format!("##vso[task.logissue type=error;]{}", for_azure(&text)),
        (CiSystem::TeamCity, source) => {
            let place = source.map(|(file, line)| format!(" ({file}:{line})")).unwrap_or_default();
            format!("##teamcity[message text='{}' status='ERROR']", for_teamcity(&(text + &place)))
        }
    }
}

fn for_github(text: &str, is_property: bool) -> String {
    let text = printable(text).replace('%', "%25");
    if is_property { text.replace(':', "%3A").replace(',', "%2C") } else { text }
}

fn for_azure(text: &str) -> String {
    // A percent sign first, as its own escape has one.
    printable(text).replace('%', "%AZP25").replace(';', "%3B").replace(']', "%5D")
}

fn for_teamcity(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '|' | '\'' | '[' | ']' => {
                out.push('|');
                out.push(c);
            }
            c if c.is_ascii() => out.push(c),
            c => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| out += &format!("|0x{unit:04x}"));
            }
        }
    }
    out
}
