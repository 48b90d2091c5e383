//! Curves as pictures.

use plotters::prelude::*;
use std::{error::Error, ops::Range, path::Path};

/// How something grows, for each contestant.
pub struct Curve {
    pub name: &'static str,
    pub title: &'static str,
    /// What grows.
    pub x: &'static str,
    pub lines: Vec<Line>,
}

/// One contestant's points: where, and how many times the reference's value.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (720, 420);

impl Curve {
    /// Draws it as SVG.
    pub fn draw(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let (across, up) = self.ranges();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(56)
            .build_cartesian_2d(across.log_scale(), up)?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc("times bare tonic's calls/s")
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.1}"))
            .light_line_style(BLACK.mix(0.04))
            .draw()?;
        for (number, line) in self.lines.iter().enumerate() {
            let colour = Palette99::pick(number).to_rgba();
            let points = line.points.iter().copied();
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
                .label(&line.name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        area.present()?;
        Ok(())
    }

    fn ranges(&self) -> (Range<f64>, Range<f64>) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let low = points().map(|point| point.0).fold(f64::MAX, f64::min);
        let high = points().map(|point| point.0).fold(low, f64::max);
        let top = points().map(|point| point.1).fold(1.0, f64::max);
        (low..high * 1.05, 0.0..top * 1.1)
    }
}
