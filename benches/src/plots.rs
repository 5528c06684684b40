//! The pictures in docs/benchmarks/.

use crate::boot::BootRow;
use crate::engines::Level;
use crate::measure::{LatencyRow, PERCENTILES, Row};
use crate::report::Results;
use crate::workloads::Pattern;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Outcome = Result<(), Box<dyn Error>>;

const WIDTH: u32 = 900;
const LINE_HEIGHT: u32 = 18;
const INK: RGBColor = RGBColor(40, 40, 40);
/// The engine, then the flavours of the C variant.
const COLOURS: [RGBColor; 4] =
    [RGBColor(200, 60, 40), RGBColor(60, 110, 180), RGBColor(90, 160, 90), RGBColor(150, 110, 170)];
/// Ratios outside are cut off.
const RATIO_RANGE: core::ops::Range<f64> = 0.02..8.0;

/// Writes all pictures for which there are results; their file names and captions.
pub fn write(dir: &Path, results: &Results) -> Result<Vec<(&'static str, String)>, Box<dyn Error>> {
    std::fs::create_dir_all(dir)?;
    let mut pictures = Vec::new();
    let single: Vec<&Row> = results.rows.iter().filter(|row| row.nr_threads == 1).collect();
    if !single.is_empty() {
        ratios(&dir.join("ratios.svg"), &single)?;
        pictures.push(("ratios.svg", "Ratios with one thread; left of the line the engine is faster.".to_owned()));
    }
    if results.rows.iter().any(|row| row.nr_threads != 1) {
        scaling(&dir.join("scaling.svg"), &results.rows)?;
        let caption = "How the ratio changes with the number of threads; below the line the engine is faster.";
        pictures.push(("scaling.svg", caption.to_owned()));
    }
    let mixed = |row: &&LatencyRow| row.work.level == Level::Zone && matches!(row.work.pattern, Pattern::Mixed { .. });
    if let Some(last) = results.latencies.iter().rfind(mixed).or(results.latencies.last()) {
        let rows: Vec<&LatencyRow> = results
            .latencies
            .iter()
            .filter(|row| row.work.pattern == last.work.pattern && row.work.level == last.work.level)
            .filter(|row| row.nr_threads == last.nr_threads)
            .collect();
        latencies(&dir.join("latencies.svg"), &rows)?;
        let caption = format!("Latencies of single calls, {} with {} threads.", last.work.name(), last.nr_threads);
        pictures.push(("latencies.svg", caption));
    }
    if !results.boots.is_empty() {
        boots(&dir.join("boot.svg"), &results.boots)?;
        pictures.push(("boot.svg", "Time to boot, and resident memory afterwards.".to_owned()));
    }
    Ok(pictures)
}

fn canvas(path: &Path, height: u32) -> Result<Area<'_>, Box<dyn Error>> {
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    Ok(area)
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// One bar per row, from ratio 1 to the row's ratio, on a logarithmic scale.
fn ratios(path: &Path, rows: &[&Row]) -> Outcome {
    const LABELS: i32 = 380;
    const TOP: i32 = 10;
    let height = LINE_HEIGHT * (rows.len() as u32 + 2) + TOP as u32;
    let area = canvas(path, height)?;
    let span = (WIDTH as i32 - LABELS - 50) as f64;
    let largest = rows.iter().map(|row| row.ratio()).fold(2.0, f64::max).min(RATIO_RANGE.end);
    let smallest = rows.iter().map(|row| row.ratio()).fold(0.5, f64::min).max(RATIO_RANGE.start);
    let x = |ratio: f64| {
        let clamped = ratio.clamp(smallest, largest);
        LABELS + (span * (clamped / smallest).ln() / (largest / smallest).ln()) as i32
    };
    let bottom = TOP + (LINE_HEIGHT * rows.len() as u32) as i32;
    for (row, number) in rows.iter().zip(0..) {
        let y = TOP + number * LINE_HEIGHT as i32;
        let colour = COLOURS[usize::from(row.ratio() > 1.0)];
        let (from, to) = (x(1.0).min(x(row.ratio())), x(1.0).max(x(row.ratio())));
        area.draw(&Text::new(row.work.name(), (4, y), text(13)))?;
        area.draw(&Rectangle::new([(from, y + 2), (to, y + LINE_HEIGHT as i32 - 4)], colour.filled()))?;
        area.draw(&Text::new(format!("{:.2}", row.ratio()), (to + 4, y), text(12)))?;
    }
    for tick in [0.25, 0.5, 1.0, 2.0, 4.0, 8.0].into_iter().filter(|tick| (smallest..=largest).contains(tick)) {
        let style = if tick == 1.0 { INK.stroke_width(2) } else { INK.mix(0.2).stroke_width(1) };
        area.draw(&PathElement::new([(x(tick), TOP), (x(tick), bottom)], style))?;
        area.draw(&Text::new(format!("{tick}"), (x(tick) - 4, bottom + 2), text(12)))?;
    }
    area.present()?;
    Ok(())
}

/// One line per work: ratio over number of threads.
fn scaling(path: &Path, rows: &[Row]) -> Outcome {
    let area = canvas(path, 520)?;
    let most = rows.iter().map(|row| row.nr_threads).max().unwrap_or(1) as f64;
    let chosen: Vec<&Row> = rows.iter().filter(|row| row.work.is_highlight()).collect();
    let largest = chosen.iter().map(|row| row.ratio()).fold(1.0, f64::max);
    let smallest = chosen.iter().map(|row| row.ratio()).fold(1.0, f64::min).max(RATIO_RANGE.start);
    // Room for the legend below the lines.
    let range = smallest / 8.0..largest * 1.3;
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(45)
        .build_cartesian_2d((1.0..most.max(2.0)).log_scale(), range.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("threads")
        .y_desc("engine / fastest C flavour")
        .x_label_formatter(&|threads| format!("{threads:.0}"))
        .y_label_formatter(&|ratio| format!("{ratio}"))
        .light_line_style(WHITE)
        .label_style(text(13))
        .draw()?;
    chart.draw_series(LineSeries::new([(1.0, 1.0), (most.max(2.0), 1.0)], INK.stroke_width(2)))?;
    for (first, number) in chosen.iter().filter(|row| row.nr_threads == rows[0].nr_threads).zip(0..) {
        let colour = HSLColor(f64::from(number) / 8.0, 0.6, 0.42);
        let points: Vec<(f64, f64)> = rows
            .iter()
            .filter(|row| row.work.name() == first.work.name())
            .map(|row| (row.nr_threads as f64, row.ratio().max(smallest)))
            .collect();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(first.work.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .label_font(text(12))
        .draw()?;
    area.present()?;
    Ok(())
}

/// One line per subject: latency at each percentile.
fn latencies(path: &Path, rows: &[&LatencyRow]) -> Outcome {
    let area = canvas(path, 360)?;
    let most = rows.iter().map(|row| row.percentiles[3]).max().unwrap_or(1).max(100) as f64;
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .x_label_area_size(35)
        .y_label_area_size(70)
        .build_cartesian_2d(0..PERCENTILES.len() - 1, (10.0..most * 2.0).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("percentile")
        .y_desc("nanoseconds")
        .x_labels(PERCENTILES.len())
        .x_label_formatter(&|number| PERCENTILES.get(*number).map_or_else(String::new, |p| format!("{p}")))
        .y_label_formatter(&|ns| format!("{ns:.0}"))
        .light_line_style(WHITE)
        .label_style(text(13))
        .draw()?;
    for (row, colour) in rows.iter().zip(COLOURS) {
        let points = row.percentiles.iter().map(|&ns| ns.max(1) as f64).enumerate();
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(row.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .label_font(text(12))
        .draw()?;
    area.present()?;
    Ok(())
}

/// Time and memory over the size of the machine.
fn boots(path: &Path, rows: &[BootRow]) -> Outcome {
    let area = canvas(path, 320)?;
    let sizes = rows[0].gib as f64..rows[rows.len() - 1].gib.max(rows[0].gib * 2) as f64;
    let halves = area.split_evenly((1, 2));
    let series: [(&str, Vec<f64>); 2] = [
        ("boot, ms", rows.iter().map(|row| row.time.as_secs_f64() * 1e3).collect()),
        ("resident, MiB", rows.iter().map(|row| row.resident as f64 / f64::from(1 << 20)).collect()),
    ];
    for ((half, (title, values)), colour) in halves.iter().zip(series).zip(COLOURS) {
        let most = values.iter().copied().fold(1.0, f64::max);
        let least = values.iter().copied().fold(most, f64::min).max(0.01);
        let mut chart = ChartBuilder::on(half)
            .margin(10)
            .caption(title, text(15))
            .x_label_area_size(35)
            .y_label_area_size(60)
            .build_cartesian_2d(sizes.clone().log_scale(), (least / 2.0..most * 2.0).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("memory, GiB")
            .x_label_formatter(&|gib| format!("{gib:.0}"))
            .light_line_style(WHITE)
            .label_style(text(13))
            .draw()?;
        let points = rows.iter().map(|row| row.gib as f64).zip(values);
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?;
    }
    area.present()?;
    Ok(())
}
