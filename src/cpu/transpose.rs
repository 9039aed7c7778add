//! From rows of neighbouring points to vectors of one point of each row.
//!
//! The one place where instructions are chosen by hand: from plain loops the compiler makes one insertion per number,
//! which costs more than all arithmetic of a window of five points.

use super::lanes::{LANES, Lanes};
use super::points::CHUNK;

/// The instructions at hand.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    #[cfg(target_arch = "x86_64")]
    avx: Option<pulp::x86::V3>,
}

impl Turn {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            // Only where the code around is compiled for it, too: a call for each instruction would be slower.
            avx: if matches!(pulp::Arch::new(), pulp::Arch::Scalar) { None } else { pulp::x86::V3::try_new() },
        }
    }

    /// `columns[i][lane] = rows[lane][i]`
    #[inline(always)]
    pub(super) fn columns(self, rows: &[[f32; CHUNK]; LANES]) -> [Lanes<f32>; CHUNK] {
        let mut columns = [Lanes::splat(0.0); CHUNK];
        #[cfg(target_arch = "x86_64")]
        if let Some(avx) = self.avx {
            let (halves, _) = rows.as_chunks::<CHUNK>();
            for (half, rows) in halves.iter().enumerate() {
                let turned = avx::columns(avx, rows);
                for i in 0..CHUNK {
                    columns[i].0[half * CHUNK..][..CHUNK].copy_from_slice(&turned[i]);
                }
            }
            return columns;
        }
        for i in 0..CHUNK {
            for l in 0..LANES {
                columns[i][l] = rows[l][i];
            }
        }
        columns
    }
}

#[cfg(target_arch = "x86_64")]
mod avx {
    use pulp::cast;
    use pulp::x86::V3;
    use std::arch::x86_64::__m256;

    // No closures here: instructions are only inlined into functions that are inlined themselves without fail.

    /// Eight by eight: pairs of rows, pairs of pairs, halves.
    #[inline(always)]
    pub(super) fn columns(v3: V3, rows: &[[f32; 8]; 8]) -> [[f32; 8]; 8] {
        let [a, b, c, d, e, f, g, h] = *rows;
        let low = four(v3, a, b, c, d);
        let high = four(v3, e, f, g, h);
        [
            halves::<0x20>(v3, low[0], high[0]),
            halves::<0x20>(v3, low[1], high[1]),
            halves::<0x20>(v3, low[2], high[2]),
            halves::<0x20>(v3, low[3], high[3]),
            halves::<0x31>(v3, low[0], high[0]),
            halves::<0x31>(v3, low[1], high[1]),
            halves::<0x31>(v3, low[2], high[2]),
            halves::<0x31>(v3, low[3], high[3]),
        ]
    }

    /// Of four rows: the columns 0, 1, 2, 3 in the low half, 4, 5, 6, 7 in the high one.
    #[inline(always)]
    fn four(v3: V3, a: [f32; 8], b: [f32; 8], c: [f32; 8], d: [f32; 8]) -> [__m256; 4] {
        let avx = v3.avx;
        let (a, b, c, d) = (cast(a), cast(b), cast(c), cast(d));
        let (low_ab, high_ab) = (avx._mm256_unpacklo_ps(a, b), avx._mm256_unpackhi_ps(a, b));
        let (low_cd, high_cd) = (avx._mm256_unpacklo_ps(c, d), avx._mm256_unpackhi_ps(c, d));
        [
            avx._mm256_shuffle_ps::<0b01_00_01_00>(low_ab, low_cd),
            avx._mm256_shuffle_ps::<0b11_10_11_10>(low_ab, low_cd),
            avx._mm256_shuffle_ps::<0b01_00_01_00>(high_ab, high_cd),
            avx._mm256_shuffle_ps::<0b11_10_11_10>(high_ab, high_cd),
        ]
    }

    #[inline(always)]
    fn halves<const WHICH: i32>(v3: V3, low: __m256, high: __m256) -> [f32; 8] {
        cast(v3.avx._mm256_permute2f128_ps::<WHICH>(low, high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_rows_turned() {
        let mut rows = [[0.0; CHUNK]; LANES];
        for l in 0..LANES {
            for i in 0..CHUNK {
                rows[l][i] = (l * CHUNK + i) as f32;
            }
        }
        let columns = Turn::new().columns(&rows);
        for l in 0..LANES {
            for i in 0..CHUNK {
                assert_eq!(columns[i][l], rows[l][i]);
            }
        }
    }
}
