#include "textflag.h"

// STRIDE is the bytes of a block's row: 8·(256+8).
#define STRIDE 2112

// Adds the squared differences of four elements of a row in a and one in b.
#define SQUARE(a, b, tmp, acc) \
	VSUBPD b, a, tmp     \
	VMULPD tmp, tmp, tmp \
	VADDPD tmp, acc, acc

// Folds four running sums, (0+2)+(1+3), and adds the fold to memory.
#define FOLD(acc, low, mem) \
	VEXTRACTF128 $1, acc, X15   \
	VADDPD       X15, low, low  \
	VPERMILPD    $1, low, X15   \
	VADDSD       X15, low, low  \
	VADDSD       mem, low, low  \
	VMOVSD       low, mem

// func tile(out *float64, outStride int, a, b *float64)
TEXT ·tile(SB), NOSPLIT, $0-32
	MOVQ out+0(FP), DI
	MOVQ outStride+8(FP), DX
	MOVQ a+16(FP), R8
	MOVQ b+24(FP), R10
	LEAQ STRIDE(R8), R9
	LEAQ STRIDE(R10), R11
	LEAQ STRIDE(R11), R12
	LEAQ STRIDE(R12), R13
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
	VXORPD Y2, Y2, Y2
	VXORPD Y3, Y3, Y3
	VXORPD Y4, Y4, Y4
	VXORPD Y5, Y5, Y5
	VXORPD Y6, Y6, Y6
	VXORPD Y7, Y7, Y7
	XORQ CX, CX
square:
	VMOVUPD (R8)(CX*1), Y8
	VMOVUPD (R9)(CX*1), Y9
	VMOVUPD (R10)(CX*1), Y10
	SQUARE(Y8, Y10, Y12, Y0)
	SQUARE(Y9, Y10, Y13, Y4)
	VMOVUPD (R11)(CX*1), Y11
	SQUARE(Y8, Y11, Y14, Y1)
	SQUARE(Y9, Y11, Y15, Y5)
	VMOVUPD (R12)(CX*1), Y10
	SQUARE(Y8, Y10, Y12, Y2)
	SQUARE(Y9, Y10, Y13, Y6)
	VMOVUPD (R13)(CX*1), Y11
	SQUARE(Y8, Y11, Y14, Y3)
	SQUARE(Y9, Y11, Y15, Y7)
	ADDQ $32, CX
	CMPQ CX, $2048
	JLT  square
	FOLD(Y0, X0, 0(DI))
	FOLD(Y1, X1, 8(DI))
	FOLD(Y2, X2, 16(DI))
	FOLD(Y3, X3, 24(DI))
	LEAQ (DI)(DX*8), DI
	FOLD(Y4, X4, 0(DI))
	FOLD(Y5, X5, 8(DI))
	FOLD(Y6, X6, 16(DI))
	FOLD(Y7, X7, 24(DI))
	VZEROUPPER
	RET

// func widened(dst *float64, src *float32, n int)
TEXT ·widened(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX
widen:
	VCVTPS2PD (SI), Y0
	VMOVUPD   Y0, (DI)
	ADDQ $16, SI
	ADDQ $32, DI
	SUBQ $4, CX
	JNZ  widen
	VZEROUPPER
	RET

// func widenedLE(dst *float64, src *byte, n int)
TEXT ·widenedLE(SB), NOSPLIT, $0-24
	JMP ·widened(SB)
