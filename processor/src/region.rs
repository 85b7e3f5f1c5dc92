//! A camera's region of interest: a polygon in source pixels.

/// A polygon; the whole picture where it has no corners.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Region {
    corners: Vec<[f64; 2]>,
}

impl Region {
    /// A polygon by its corners in order, either way round, the last joined to the first.
    pub fn new(corners: &[[f32; 2]]) -> Self {
        Self { corners: corners.iter().map(|corner| corner.map(f64::from)).collect() }
    }

    /// Whether it has no corners.
    pub fn is_everything(&self) -> bool {
        self.corners.is_empty()
    }

    /// The same region where pixels go `scale` times into these along x and y.
    pub fn scaled(&self, [sx, sy]: [f64; 2]) -> Self {
        Self { corners: self.corners.iter().map(|&[x, y]| [x * sx, y * sy]).collect() }
    }

    /// Whether a point lies in the region. Its boundary belongs to it. Where the polygon crosses itself, a point is
    /// inside when a ray from it leaves through an odd number of sides (the even-odd rule).
    pub fn contains(&self, point: [f64; 2]) -> bool {
        if self.corners.is_empty() {
            return true;
        }
        let [x, y] = point;
        if !(x.is_finite() && y.is_finite()) {
            return false;
        }
        let mut inside = false;
        for (&[ax, ay], &[bx, by]) in self.corners.iter().zip(self.corners.iter().cycle().skip(1)) {
            let turn = (bx - ax) * (y - ay) - (by - ay) * (x - ax);
            let beside = x >= ax.min(bx) && x <= ax.max(bx) && y >= ay.min(by) && y <= ay.max(by);
            if turn == 0.0 && beside {
                return true;
            }
            // Half-open in y, so that a ray through a corner counts its two sides once or twice, never wrongly.
            if (ay > y) != (by > y) && (turn > 0.0) == (by > ay) {
                inside = !inside;
            }
        }
        inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SQUARE: [[f32; 2]; 4] = [[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]];

    #[test]
    fn boundary_belongs_to_the_region() {
        let region = Region::new(&SQUARE);
        for point in
            [[10.0, 10.0], [15.0, 10.0], [20.0, 15.0], [12.0, 20.0], [10.0, 19.0], [20.0, 20.0], [15.0, 15.0]]
        {
            assert!(region.contains(point), "{point:?}");
        }
        for point in [
            [9.999, 15.0],
            [15.0, 20.001],
            [25.0, 10.0],
            [5.0, 10.0],
            [5.0, 20.0],
            [15.0, 9.0],
            [f64::NAN, 15.0],
        ] {
            assert!(!region.contains(point), "{point:?}");
        }
    }

    #[test]
    fn no_corners_are_the_whole_picture() {
        assert!(Region::default().contains([1e9, -1e9]));
    }

    #[test]
    fn middle_of_a_pentagram_is_outside_by_the_even_odd_rule() {
        let star: Vec<[f32; 2]> = (0..5)
            .map(|k| std::f32::consts::TAU * (2 * k) as f32 / 5.0)
            .map(|angle| [10.0 * angle.sin(), -10.0 * angle.cos()])
            .collect();
        let region = Region::new(&star);
        assert!(!region.contains([0.0, 0.0]));
        assert!(region.contains([0.0, -7.0]));
        assert!(!region.contains([0.0, 9.0]));
    }

    proptest! {
        /// The winding of the angle seen from the point is an independent way to tell, for simple polygons.
        #[test]
        fn agrees_with_the_angle_seen_from_the_point(
            radii in prop::collection::vec(1.0f32..10.0, 3..12), x in -12.0..12.0f64, y in -12.0..12.0f64,
        ) {
            let n = radii.len() as f32;
            let corners: Vec<[f32; 2]> = radii.iter().enumerate()
                .map(|(k, r)| (std::f32::consts::TAU * k as f32 / n, r))
                .map(|(angle, r)| [r * angle.cos(), r * angle.sin()]).collect();
            let total: f64 = corners.iter().zip(corners.iter().cycle().skip(1)).map(|(a, b)| {
                let (ax, ay) = (f64::from(a[0]) - x, f64::from(a[1]) - y);
                let (bx, by) = (f64::from(b[0]) - x, f64::from(b[1]) - y);
                (ax * by - ay * bx).atan2(ax * bx + ay * by)
            }).sum();
            prop_assert_eq!(Region::new(&corners).contains([x, y]), total.abs() > std::f64::consts::PI);
        }

        #[test]
        fn either_way_round_is_the_same(x in 0.0..30.0f64, y in 0.0..30.0f64) {
            let mut reversed = SQUARE;
            reversed.reverse();
            prop_assert_eq!(Region::new(&SQUARE).contains([x, y]), Region::new(&reversed).contains([x, y]));
        }
    }
}
