#include "textflag.h"

// One exchange of eight lanes at off: the lesser to lo (R8), the greater to hi (R9).
#define EXCHANGE(off, a, b, least, most) \
	VMOVDQU off(R8), a      \
	VMOVDQU off(R9), b      \
	VPMINSD a, b, least     \
	VPMAXSD a, b, most      \
	VMOVDQU least, off(R8)  \
	VMOVDQU most, off(R9)

// func exchange(keys *int32, pairs *pair, n int)
//
// A row is 64 lanes of 4 bytes.
TEXT ·exchange(SB), NOSPLIT, $0-24
	MOVQ keys+0(FP), DI
	MOVQ pairs+8(FP), SI
	MOVQ n+16(FP), CX
next:
	MOVLQSX 0(SI), R8
	MOVLQSX 4(SI), R9
	SHLQ $8, R8
	SHLQ $8, R9
	ADDQ DI, R8
	ADDQ DI, R9
	EXCHANGE(0, Y0, Y1, Y2, Y3)
	EXCHANGE(32, Y4, Y5, Y6, Y7)
	EXCHANGE(64, Y8, Y9, Y10, Y11)
	EXCHANGE(96, Y12, Y13, Y14, Y15)
	EXCHANGE(128, Y0, Y1, Y2, Y3)
	EXCHANGE(160, Y4, Y5, Y6, Y7)
	EXCHANGE(192, Y8, Y9, Y10, Y11)
	EXCHANGE(224, Y12, Y13, Y14, Y15)
	ADDQ $8, SI
	DECQ CX
	JNZ  next
	VZEROUPPER
	RET

// func keysOf(dst *int32, src *float32, n int)
TEXT ·keysOf(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
key:
	VMOVDQU (SI), Y0
	VPSRAD  $31, Y0, Y1
	VPSRLD  $1, Y1, Y1
	VPXOR   Y0, Y1, Y1
	VMOVDQU Y1, (DI)
	ADDQ $32, SI
	ADDQ $32, DI
	SUBQ $8, CX
	JNZ  key
	VZEROUPPER
	RET

// func keysOfLE(dst *int32, src *byte, n int)
TEXT ·keysOfLE(SB), NOSPLIT, $0-24
	JMP ·keysOf(SB)
