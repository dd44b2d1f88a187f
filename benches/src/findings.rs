//! What a suite found, in the one shape that every report is written from.

/// The answer to the question of a suite.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// What came of it, in a sentence or two with figures.
    pub seen: String,
    /// How it was measured, a sentence each.
    pub method: Vec<String>,
    /// The figures.
    pub tables: Vec<Table>,
    /// What is worth a picture.
    pub plots: Vec<Plot>,
    /// What it was to show.
    pub targets: Vec<Target>,
}

impl Finding {
    /// Of a suite that could not be run here.
    pub fn not_measured(why: impl ToString) -> Self {
        Self {
            seen: format!("Not measured: {}.", why.to_string()),
            ..Self::default()
        }
    }
}

/// Figures in rows: in the first column who, in the others what.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What all rows have in common.
    pub title: String,
    /// The heading of each column, the first included.
    pub headings: Vec<String>,
    /// As many cells as there are headings. Rows whose first begins with "ours" are set off.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Without rows.
    pub fn new(title: impl Into<String>, headings: &[&str]) -> Self {
        Self {
            title: title.into(),
            headings: headings.iter().map(ToString::to_string).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    ///
    /// # Panics
    ///
    /// When it has not as many cells as there are headings.
    #[track_caller]
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.headings.len(), "a cell for each heading");
        self.rows.push(cells);
    }
}

/// A bar for each contender; those whose name begins with "ours" are set off.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// What is drawn, with its unit, and which end is good.
    pub title: String,
    /// Names and values from zero up.
    pub bars: Vec<(String, f64)>,
    /// A value to compare with, drawn as a line.
    pub mark: Option<f64>,
}

/// What was to be shown, and what was seen.
#[derive(Clone, Debug)]
pub struct Target {
    /// As a sentence.
    pub target: String,
    /// The figure it is judged by.
    pub seen: String,
    /// `None` where nobody could see.
    pub holds: Option<bool>,
}

impl Target {
    /// A target that was measured.
    pub fn new(target: impl Into<String>, seen: impl Into<String>, holds: bool) -> Self {
        Self {
            target: target.into(),
            seen: seen.into(),
            holds: Some(holds),
        }
    }

    /// A target that could not be.
    pub fn not_measured(target: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            target: target.into(),
            seen: format!("not measured: {}", why.into()),
            holds: None,
        }
    }

    /// `holds`, `MISSED` or `?`.
    pub fn verdict(&self) -> &'static str {
        match self.holds {
            Some(true) => "holds",
            Some(false) => "MISSED",
            None => "?",
        }
    }
}

/// Whether a row or a bar is about this pool.
pub fn is_ours(name: &str) -> bool {
    name.starts_with("ours")
}

/// As many digits as mean something: `0.056`, `4.21`, `37`, `16,164`.
pub fn digits(value: f64) -> String {
    if !value.is_finite() {
        "-".into()
    } else if value == 0.0 {
        "0".into()
    } else if value >= 99.95 {
        thousands(value.round() as u64)
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else if value >= 0.0995 {
        format!("{value:.2}")
    } else if value >= 0.0005 {
        format!("{value:.3}")
    } else {
        "<0.001".into()
    }
}

/// `16,164`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_as_many_digits_as_mean_something() {
        let seen = [0.0, 0.0561, 4.209, 37.04, 99.96, 16_164.4].map(digits);
        assert_eq!(seen, ["0", "0.056", "4.21", "37.0", "100", "16,164"]);
        assert_eq!(digits(f64::NAN), "-");
        assert_eq!(digits(0.0004), "<0.001");
    }

    #[test]
    #[should_panic(expected = "a cell for each heading")]
    fn a_row_has_a_cell_for_each_heading() {
        Table::new("", &["who", "what"]).row(["ours".into()]);
    }
}
