//! Polygons in the picture.

/// Whether two edges of a polygon cross: its inside is then not what it looks like.
pub fn crosses_itself(corners: &[[f32; 2]]) -> bool {
    let corner = |index: usize| corners[index % corners.len()].map(f64::from);
    let edge = |index: usize| [corner(index), corner(index + 1)];
    (0..corners.len()).any(|one| {
        // Neighbours share a corner, the last edge with the first one too.
        let last = corners.len() - usize::from(one == 0);
        (one + 2..last).any(|other| cross(edge(one), edge(other)))
    })
}

/// Whether each of two lines has the ends of the other on both of its sides.
fn cross([a, b]: [[f64; 2]; 2], [c, d]: [[f64; 2]; 2]) -> bool {
    let side = |from: [f64; 2], to: [f64; 2], at: [f64; 2]| {
        (to[0] - from[0]) * (at[1] - from[1]) - (to[1] - from[1]) * (at[0] - from[0])
    };
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bow_ties_cross_and_simple_polygons_do_not() {
        let square = [[0.0, 0.0], [100.0, 0.0], [100.0, 100.0], [0.0, 100.0]];
        assert!(!crosses_itself(&[]));
        assert!(!crosses_itself(&square[..3]));
        assert!(!crosses_itself(&square));
        assert!(crosses_itself(&[square[0], square[2], square[1], square[3]]));
        let notched = [[0.0, 0.0], [100.0, 0.0], [50.0, 40.0], [100.0, 100.0], [0.0, 100.0]];
        assert!(!crosses_itself(&notched));
        let mut star = [[0.0_f32; 2]; 5];
        for (n, corner) in star.iter_mut().enumerate() {
            let angle = n as f32 * 4.0 * std::f32::consts::PI / 5.0;
            *corner = [angle.cos(), angle.sin()];
        }
        assert!(crosses_itself(&star));
    }
}
