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
    /// What `arch` has; code around it must be compiled for that, too.
    #[inline]
    pub(super) fn new(arch: pulp::Arch) -> Self {
        #[cfg(not(target_arch = "x86_64"))]
        let _ = arch;
        Self {
            #[cfg(target_arch = "x86_64")]
            avx: if matches!(arch, pulp::Arch::Scalar) { None } else { pulp::x86::V3::try_new() },
        }
    }

    /// Asks for the memory of a place that will be read soon. Where there is nothing at that place, nothing happens.
    #[inline(always)]
    pub(super) fn prefetch(self, losses: &[f32], place: usize) {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx) = self.avx {
            avx.sse._mm_prefetch::<2>(losses.as_ptr().wrapping_add(place).cast());
        }
    }

    /// `columns[i][lane] = row(lane)[i]`
    #[inline(always)]
    pub(super) fn columns<'r>(self, row: impl Fn(usize) -> &'r [f32; CHUNK]) -> [Lanes<f32>; CHUNK] {
        let mut columns = [Lanes::splat(0.0); CHUNK];
        #[cfg(target_arch = "x86_64")]
        if let Some(avx) = self.avx {
            let low = avx::columns(avx, [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)]);
            let high = avx::columns(avx, [row(8), row(9), row(10), row(11), row(12), row(13), row(14), row(15)]);
            for i in 0..CHUNK {
                columns[i] = Lanes(pulp::cast([low[i], high[i]]));
            }
            return columns;
        }
        for l in 0..LANES {
            for (column, number) in columns.iter_mut().zip(row(l)) {
                column[l] = *number;
            }
        }
        columns
    }

    /// `rows[lane][i] = columns[i][lane]`
    #[inline(always)]
    pub(super) fn rows(self, columns: &[Lanes<f32>; CHUNK]) -> [[f32; CHUNK]; LANES] {
        let mut rows = [[0.0; CHUNK]; LANES];
        #[cfg(target_arch = "x86_64")]
        if let Some(avx) = self.avx {
            let halves: [[[f32; CHUNK]; 2]; CHUNK] = columns.map(|column| pulp::cast(column.0));
            let [a, b, c, d, e, f, g, h] = &halves;
            let low = avx::columns(avx, [&a[0], &b[0], &c[0], &d[0], &e[0], &f[0], &g[0], &h[0]]);
            let high = avx::columns(avx, [&a[1], &b[1], &c[1], &d[1], &e[1], &f[1], &g[1], &h[1]]);
            return pulp::cast([low, high]);
        }
        for (l, row) in rows.iter_mut().enumerate() {
            for (number, column) in row.iter_mut().zip(columns) {
                *number = column[l];
            }
        }
        rows
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
    pub(super) fn columns(v3: V3, rows: [&[f32; 8]; 8]) -> [[f32; 8]; 8] {
        let [a, b, c, d, e, f, g, h] = rows.map(|row| *row);
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
        let columns = Turn::new(pulp::Arch::new()).columns(|lane| &rows[lane]);
        for l in 0..LANES {
            for i in 0..CHUNK {
                assert_eq!(columns[i][l], rows[l][i]);
            }
        }
        assert_eq!(Turn::new(pulp::Arch::new()).rows(&columns), rows);
    }
}
