package kernel

// cpuid returns the registers of the instruction for a leaf and its subleaf.
//
//go:noescape
func cpuid(leaf, sub uint32) (a, b, c, d uint32)

// xgetbv returns which registers the operating system saves.
func xgetbv() (low, high uint32)

// hasAVX2 says whether the CPU has AVX2 and the operating system keeps the
// upper halves of its registers. Source: Intel SDM volume 1, 14.3 and 14.7.1.
func hasAVX2() bool {
	const (
		osxsave = 1 << 27 // leaf 1, c
		avx     = 1 << 28 // leaf 1, c
		avx2    = 1 << 5  // leaf 7, b
		saved   = 1<<1 | 1<<2
	)
	if most, _, _, _ := cpuid(0, 0); most < 7 {
		return false
	}
	if _, _, c, _ := cpuid(1, 0); c&osxsave == 0 || c&avx == 0 {
		return false
	}
	if low, _ := xgetbv(); low&saved != saved {
		return false
	}
	_, b, _, _ := cpuid(7, 0)
	return b&avx2 != 0
}
