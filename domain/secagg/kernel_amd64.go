package secagg

import "unsafe"

// Each kernel does as many elements as fill blocks of 64 bytes and returns how
// many that are.

func add32(dst, src []uint32) int {
	blocks := len(dst) / 16
	if blocks > 0 {
		_ = src[blocks*16-1]
		add32Blocks(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), blocks)
	}
	return blocks * 16
}

func add64(dst, src []uint64) int {
	blocks := len(dst) / 8
	if blocks > 0 {
		_ = src[blocks*8-1]
		add64Blocks(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), blocks)
	}
	return blocks * 8
}

func subtract32(dst, src []uint32) int {
	blocks := len(dst) / 16
	if blocks > 0 {
		_ = src[blocks*16-1]
		subtract32Blocks(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), blocks)
	}
	return blocks * 16
}

func subtract64(dst, src []uint64) int {
	blocks := len(dst) / 8
	if blocks > 0 {
		_ = src[blocks*8-1]
		subtract64Blocks(unsafe.Pointer(&dst[0]), unsafe.Pointer(&src[0]), blocks)
	}
	return blocks * 8
}

//go:noescape
func add32Blocks(dst, src unsafe.Pointer, blocks int)

//go:noescape
func add64Blocks(dst, src unsafe.Pointer, blocks int)

//go:noescape
func subtract32Blocks(dst, src unsafe.Pointer, blocks int)

//go:noescape
func subtract64Blocks(dst, src unsafe.Pointer, blocks int)
