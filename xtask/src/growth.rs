//! How cost grows, from the cases of `setokim bench`: a table and a picture for docs/benchmarks.md.

use std::{collections::BTreeMap, fmt::Write, fs};

use anyhow::Result;
use serde_json::Value;

use crate::{peers::write_between, shell::root};

const PICTURE: &str = "docs/images/growth.svg";
const BEGIN: &str = "<!-- written by `cargo xtask bench` -->";

/// What grows, and the key that its cases have before the size: `cluster N=256 C=192`.
const WORKS: [(&str, &str); 3] =
    [("clustering, by patches", "N="), ("encoder, by side in pixels", "side="), ("one token, by context", "context=")];

/// Median milliseconds by size, for each device.
type Curves = BTreeMap<String, BTreeMap<u64, f64>>;

pub fn write(cases: &[Value]) -> Result<()> {
    let works = WORKS.map(|(title, key)| (title, curves(cases, key)));
    fs::write(root().join(PICTURE), svg(&works)?)?;
    write_between(BEGIN, &table(&works)?)
}

fn curves(cases: &[Value], key: &str) -> Curves {
    let mut curves = Curves::new();
    for case in cases {
        let what = case["what"].as_str().unwrap_or_default();
        let size = what.split(' ').find_map(|word| word.strip_prefix(key)?.parse().ok());
        if let (Some(size), Some(device), Some(median)) = (size, case["device"].as_str(), case["median_ms"].as_f64()) {
            curves.entry(device.to_owned()).or_default().insert(size, median);
        }
    }
    curves
}

fn table(works: &[(&str, Curves)]) -> Result<String> {
    let mut table = String::from("| work | device | size: median ms |\n| --- | --- | --- |\n");
    for (title, curves) in works {
        for (device, points) in curves {
            let points: Vec<String> = points.iter().map(|(size, ms)| format!("{size}: {ms:.1}")).collect();
            writeln!(table, "| {title} | {device} | {} |", points.join(", "))?;
        }
    }
    writeln!(table, "\n![Time by size, both axes logarithmic](images/growth.svg)")?;
    Ok(table)
}

const PANEL: [f64; 2] = [300.0, 230.0];
const MARGIN: [f64; 4] = [48.0, 30.0, 20.0, 34.0]; // left, top, right, bottom
const COLORS: [&str; 6] = ["#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#475569"];

/// One panel a work; both axes logarithmic, so that a straight line is a power of the size.
fn svg(works: &[(&str, Curves)]) -> Result<String> {
    let mut devices: Vec<&String> = works.iter().flat_map(|(_, curves)| curves.keys()).collect();
    devices.sort();
    devices.dedup();
    let (width, height) = (PANEL[0] * works.len() as f64, PANEL[1] + 22.0 * devices.len() as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (at, (title, curves)) in works.iter().enumerate() {
        panel(&mut svg, PANEL[0] * at as f64, title, curves, &devices)?;
    }
    for (at, device) in devices.iter().enumerate() {
        let (y, color) = (PANEL[1] + 22.0 * at as f64, COLORS[at % COLORS.len()]);
        writeln!(svg, "<rect x=\"48\" y=\"{y}\" width=\"18\" height=\"3\" fill=\"{color}\"/>")?;
        writeln!(svg, "<text x=\"72\" y=\"{}\">{}</text>", y + 6.0, escaped(device))?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn panel(svg: &mut String, left: f64, title: &str, curves: &Curves, devices: &[&String]) -> Result<()> {
    let points = || curves.values().flatten().map(|(&size, &ms)| (size as f64, ms));
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value.log10()), high.max(value.log10())))
    };
    let (x_low, x_high) = range(&mut points().map(|(size, _)| size));
    let (y_low, y_high) = range(&mut points().map(|(_, ms)| ms));
    let (y_low, y_high) = (y_low.floor(), y_high.ceil());
    let place = |value: f64, low: f64, high: f64, length: f64| (value.log10() - low) / (high - low).max(1e-9) * length;
    let (right, bottom) = (PANEL[0] - MARGIN[0] - MARGIN[2], PANEL[1] - MARGIN[1] - MARGIN[3]);
    let x = |size: f64| left + MARGIN[0] + place(size, x_low, x_high, right);
    let y = |ms: f64| MARGIN[1] + bottom - place(ms, y_low, y_high, bottom);

    writeln!(svg, "<text x=\"{}\" y=\"18\" font-weight=\"600\">{title}</text>", left + MARGIN[0])?;
    for power in y_low as i32..=y_high as i32 {
        let (ms, from, to) = (10f64.powi(power), left + MARGIN[0], left + PANEL[0] - MARGIN[2]);
        writeln!(svg, "<path d=\"M{from} {0:.1}H{to}\" stroke=\"#e2e8f0\"/>", y(ms))?;
        writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", from - 5.0, y(ms) + 4.0, time(ms))?;
    }
    let mut sizes: Vec<u64> = curves.values().flat_map(|curve| curve.keys().copied()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let (x, y) = (x(size as f64), PANEL[1] - MARGIN[3] + 18.0);
        writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{size}</text>")?;
    }
    for (device, curve) in curves {
        let color = COLORS[devices.iter().position(|other| *other == device).unwrap_or(0) % COLORS.len()];
        let line: Vec<String> =
            curve.iter().map(|(&size, &ms)| format!("{:.1},{:.1}", x(size as f64), y(ms))).collect();
        let line = line.join(" ");
        writeln!(svg, "<polyline points=\"{line}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>")?;
        for (&size, &ms) in curve {
            writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"/>", x(size as f64), y(ms))?;
        }
    }
    Ok(())
}

fn time(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms} ms") } else { format!("{} s", ms / 1000.0) }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
