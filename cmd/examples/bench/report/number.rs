//! Numbers as people read them: three digits are all that a run can tell.

use crate::samples::Summary;

/// From here on thousands are shown.
const THOUSANDS: f64 = 10_000.0;

/// `44.8k (43.1–45.2)`, the spread in the unit of the median.
pub(super) fn spread(summary: Option<Summary>) -> String {
    let Some(Summary { median, min, max }) = summary else { return "–".to_owned() };
    let (scale, unit) = if median.abs() < THOUSANDS { (1.0, "") } else { (1000.0, "k") };
    let [middle, min, max] = [median, min, max].map(|value| plain(value / scale));
    if min == max { format!("{middle}{unit}") } else { format!("{middle}{unit} ({min}–{max})") }
}

/// `0.53×`.
pub(super) fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{}×", plain(ratio)))
}

/// `9.38`, `44.8`, `5344`.
pub(super) fn plain(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 || size == size.trunc() => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(median: f64, min: f64, max: f64) -> String {
        spread(Some(Summary { median, min, max }))
    }

    #[test]
    fn three_digits_are_enough() {
        assert_eq!(shown(44_812.0, 43_100.0, 45_200.0), "44.8k (43.1–45.2)");
        assert_eq!(shown(155_830.0, 149_600.0, 160_400.0), "156k (150–160)");
        assert_eq!(shown(5344.2, 5210.0, 5698.0), "5344 (5210–5698)");
        assert_eq!(shown(0.6123, 0.6, 0.7), "0.61 (0.60–0.70)");
        assert_eq!(shown(87_400.0, 66_300.0, 108_500.0), "87.4k (66.3–108)");
        assert_eq!((plain(9.996), plain(99.96), plain(0.0)), ("10.0".into(), "100".into(), "0".into()));
        assert_eq!(shown(1000.0, 1000.0, 1000.0), "1000");
        assert_eq!(spread(None), "–");
        assert_eq!((ratio(Some(1.604)), ratio(Some(12.34)), ratio(None)), ("1.60×".into(), "12.3×".into(), "–".into()));
    }
}
