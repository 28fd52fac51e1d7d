//! The table `## Promises kept` of `tests/README.md`, and what the planted faults say of themselves: which promise,
//! which test.
//!
//! Reads text alone; knows nothing of how tests are built or run. `tests/tidy.rs` checks what stands there by it.

use std::collections::BTreeSet;

/// Above which heading the table stands.
const HEADING: &str = "## Promises kept";

/// How many promises each area has: A1 to A9, B1 to B6 and so on.
const AREAS: [(char, u32); 9] =
    [('A', 9), ('B', 6), ('C', 5), ('D', 7), ('E', 9), ('F', 4), ('G', 4), ('H', 5), ('I', 4)];

/// A test by the file that it stands in, from the root of the workspace, and its function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Named {
    pub(crate) file: String,
    pub(crate) function: String,
}

/// One promise and how it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) promise: String,
    pub(crate) tests: Vec<Named>,
    pub(crate) figure: String,
    pub(crate) command: String,
}

/// A fault to be planted, as its patch describes it in the lines before the difference.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) id: String,
    pub(crate) test: Named,
    pub(crate) what: String,
}

/// Whether this is one of the 53 promises.
pub(crate) fn is_promise(id: &str) -> bool {
    let known = |(area, count): &(char, u32)| {
        let number = id.strip_prefix(*area).and_then(|number| number.parse().ok());
        number.is_some_and(|number: u32| (1..=*count).contains(&number))
    };
    AREAS.iter().any(known)
}

/// The tests that a text names as `file.rs::function`.
pub(crate) fn named_in(text: &str) -> Vec<Named> {
    let part_of_a_name = |c: char| c.is_ascii_alphanumeric() || "_/.:-".contains(c);
    let words = text.split(|c| !part_of_a_name(c));
    let named = words.filter_map(|word| {
        let (file, function) = word.split_once(".rs::")?;
        Some(Named { file: format!("{file}.rs"), function: function.to_owned() })
    });
    named.collect()
}

/// The rows of the table in their order.
///
/// # Errors
/// Names the row that is not as the others.
pub(crate) fn rows(readme: &str) -> Result<Vec<Row>, String> {
    let after = readme.split_once(HEADING).ok_or_else(|| format!("no heading {HEADING:?}"))?.1;
    let lines = after.lines().take_while(|line| !line.starts_with("## "));
    let table = lines.filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<Row> = table.map(row).collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    match rows.iter().find(|row| !seen.insert(&row.id)) {
        Some(row) => Err(format!("{} has two rows", row.id)),
        None => Ok(rows),
    }
}

fn row(line: &str) -> Result<Row, String> {
    let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
    let [id, promise, tests, figure, command] = cells[..] else {
        return Err(format!("not five cells: {line}"));
    };
    let row = Row {
        id: id.to_owned(),
        promise: promise.to_owned(),
        tests: named_in(tests),
        figure: figure.to_owned(),
        command: command.to_owned(),
    };
    let is_whole = is_promise(id) && !row.tests.is_empty();
    if is_whole { Ok(row) } else { Err(format!("no ID of a promise, or no test: {line}")) }
}

/// What a patch says of itself.
///
/// # Errors
/// Says which line is missing or wrong.
pub(crate) fn fault(patch: &str) -> Result<Fault, String> {
    let head: Vec<&str> = patch.lines().take_while(|line| !line.starts_with("diff ")).collect();
    let find = |name: &str| {
        let found = head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.ok_or_else(|| format!("no line {name}:"))
    };
    let (id, what) = (find("Promise")?.to_owned(), find("Fault")?.to_owned());
    let tests = named_in(find("Test")?);
    let [test] = &tests[..] else { return Err("one test is to be named".to_owned()) };
    if !is_promise(&id) {
        return Err(format!("{id} is no promise"));
    }
    Ok(Fault { id, test: test.clone(), what })
}
