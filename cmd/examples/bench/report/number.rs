//! Numbers as people read them: three digits are all that a run can tell.

use crate::samples::Summary;

/// From here on thousands are shown.
const THOUSANDS: f64 = 10_000.0;

/// `44.8k (43.1–45.2)`, the spread in the unit of the median.
pub(super) fn spread(summary: Option<Summary>) -> String {
    let Some(Summary { median, min, max }) = summary else { return "–".to_owned() };
    let (scale, unit) = if median.abs() < THOUSANDS { (1.0, "") } else { (1000.0, "k") };
    let [middle, min, max] = [median, min, max].map(|value| digits(value / scale, median / scale));
    if min == max { format!("{middle}{unit}") } else { format!("{middle}{unit} ({min}–{max})") }
}

/// `0.53×`.
pub(super) fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{}×", digits(ratio, ratio)))
}

/// As many decimals as give `like` three digits.
fn digits(value: f64, like: f64) -> String {
    let decimals = match like.abs() {
        like if like >= 100.0 || like == like.trunc() => 0,
        like if like >= 10.0 => 1,
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
        assert_eq!(shown(1000.0, 1000.0, 1000.0), "1000");
        assert_eq!(spread(None), "–");
        assert_eq!((ratio(Some(1.604)), ratio(Some(12.34)), ratio(None)), ("1.60×".into(), "12.3×".into(), "–".into()));
    }
}
