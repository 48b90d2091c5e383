//! What is printed.

use crate::quartiles::short;
use crate::rounds::Compared;
use std::fmt;

/// What a measure has to say.
pub struct Report {
    pub name: &'static str,
    /// The runtime, and whatever else is particular.
    pub stage: String,
    pub what: What,
    /// Lines below.
    pub notes: Vec<String>,
    pub figures: Vec<Figure>,
}

/// How it was measured.
pub enum What {
    /// In rounds, in this unit.
    Rounds(Compared, &'static str),
    /// Otherwise: the notes say all.
    Else,
}

/// What has to be reached.
#[derive(Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Nothing: it is there to be seen.
    None,
}

/// A number for the last lines.
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub target: Target,
}

impl Figure {
    pub fn new(name: impl Into<String>, value: f64, target: Target) -> Self {
        Self {
            name: name.into(),
            value,
            target,
        }
    }
}

impl Report {
    /// Of rounds.
    pub fn rounds(
        name: &'static str,
        stage: impl Into<String>,
        unit: &'static str,
        compared: Compared,
    ) -> Self {
        Self {
            what: What::Rounds(compared, unit),
            ..Self::text(name, stage)
        }
    }

    /// Of notes only.
    pub fn text(name: &'static str, stage: impl Into<String>) -> Self {
        Self {
            name,
            stage: stage.into(),
            what: What::Else,
            notes: Vec::new(),
            figures: Vec::new(),
        }
    }

    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    pub fn figure(mut self, name: impl Into<String>, value: f64, target: Target) -> Self {
        self.figures.push(Figure::new(name, value, target));
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.name, self.stage)?;
        if let What::Rounds(compared, unit) = &self.what {
            compared_rows(compared, unit, f)?;
        }
        for note in &self.notes {
            writeln!(f, "  {note}")?;
        }
        for figure in &self.figures {
            writeln!(f, "  = {figure}")?;
        }
        Ok(())
    }
}

fn compared_rows(compared: &Compared, unit: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Compared {
        counted,
        disturbed,
        disturbed_counted,
        ..
    } = compared;
    write!(
        f,
        "  {counted} rounds; {disturbed} more or less disturbed by others"
    )?;
    if *disturbed_counted > 0 {
        writeln!(
            f,
            ", of which {disturbed_counted} COUNT, there being too few others"
        )?;
    } else {
        writeln!(f, ", discarded")?;
    }
    let (who, ratio) = ("", "ratio");
    writeln!(
        f,
        "  {who:<26} {unit:>30} {ratio:>26} {:>12}",
        "allocations"
    )?;
    for row in &compared.rows {
        let (value, ratio) = (row.values.to_string(), row.ratios.to_string());
        let allocations = row.allocations.map(short).unwrap_or_default();
        writeln!(
            f,
            "  {:<26} {value:>30} {ratio:>26} {allocations:>12}",
            row.name
        )?;
    }
    Ok(())
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, .. } = self;
        write!(f, "{name} {}", short(*value))?;
        let (reached, sign, wanted) = match self.target {
            Target::AtLeast(wanted) => (*value >= wanted, "≥", wanted),
            Target::AtMost(wanted) => (*value <= wanted, "≤", wanted),
            Target::None => return Ok(()),
        };
        let verdict = if reached { "reached" } else { "MISSED" };
        write!(f, " (wanted {sign} {wanted}: {verdict})")
    }
}
