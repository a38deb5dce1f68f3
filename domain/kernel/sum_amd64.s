#include "textflag.h"

// One step adds one row's four elements at off to the accumulators in acc:
// widen, multiply, round, add.
#define STEP(row, weight, off, tmp, acc) \
	VCVTPS2PD off(row)(CX*4), tmp \
	VMULPD    weight, tmp, tmp    \
	VADDPD    tmp, acc, acc

// func add4(a *float64, w *float64, x *[4][]float32, n int)
//
// A slice begins with its pointer and takes 24 bytes; safetensors are
// little-endian as the CPU is. So rows of bytes are the same to this code.
TEXT ·add4(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	MOVQ w+8(FP), SI
	MOVQ x+16(FP), DX
	MOVQ n+24(FP), BX
	VBROADCASTSD 0(SI), Y12
	VBROADCASTSD 8(SI), Y13
	VBROADCASTSD 16(SI), Y14
	VBROADCASTSD 24(SI), Y15
	MOVQ 0(DX), R8
	MOVQ 24(DX), R9
	MOVQ 48(DX), R10
	MOVQ 72(DX), R11
	XORQ CX, CX
loop4:
	VMOVUPD 0(DI)(CX*8), Y0
	VMOVUPD 32(DI)(CX*8), Y1
	VMOVUPD 64(DI)(CX*8), Y2
	VMOVUPD 96(DI)(CX*8), Y3
	STEP(R8, Y12, 0, Y4, Y0)
	STEP(R8, Y12, 16, Y5, Y1)
	STEP(R8, Y12, 32, Y6, Y2)
	STEP(R8, Y12, 48, Y7, Y3)
	STEP(R9, Y13, 0, Y8, Y0)
	STEP(R9, Y13, 16, Y9, Y1)
	STEP(R9, Y13, 32, Y10, Y2)
	STEP(R9, Y13, 48, Y11, Y3)
	STEP(R10, Y14, 0, Y4, Y0)
	STEP(R10, Y14, 16, Y5, Y1)
	STEP(R10, Y14, 32, Y6, Y2)
	STEP(R10, Y14, 48, Y7, Y3)
	STEP(R11, Y15, 0, Y8, Y0)
	STEP(R11, Y15, 16, Y9, Y1)
	STEP(R11, Y15, 32, Y10, Y2)
	STEP(R11, Y15, 48, Y11, Y3)
	VMOVUPD Y0, 0(DI)(CX*8)
	VMOVUPD Y1, 32(DI)(CX*8)
	VMOVUPD Y2, 64(DI)(CX*8)
	VMOVUPD Y3, 96(DI)(CX*8)
	ADDQ $16, CX
	CMPQ CX, BX
	JLT  loop4
	VZEROUPPER
	RET

// func add4LE(a *float64, w *float64, x *[4][]byte, n int)
TEXT ·add4LE(SB), NOSPLIT, $0-32
	JMP ·add4(SB)

// func add1(a *float64, w float64, x *float32, n int)
TEXT ·add1(SB), NOSPLIT, $0-32
	MOVQ a+0(FP), DI
	VBROADCASTSD w+8(FP), Y12
	MOVQ x+16(FP), R8
	MOVQ n+24(FP), BX
	XORQ CX, CX
loop1:
	VMOVUPD 0(DI)(CX*8), Y0
	VMOVUPD 32(DI)(CX*8), Y1
	VMOVUPD 64(DI)(CX*8), Y2
	VMOVUPD 96(DI)(CX*8), Y3
	STEP(R8, Y12, 0, Y4, Y0)
	STEP(R8, Y12, 16, Y5, Y1)
	STEP(R8, Y12, 32, Y6, Y2)
	STEP(R8, Y12, 48, Y7, Y3)
	VMOVUPD Y0, 0(DI)(CX*8)
	VMOVUPD Y1, 32(DI)(CX*8)
	VMOVUPD Y2, 64(DI)(CX*8)
	VMOVUPD Y3, 96(DI)(CX*8)
	ADDQ $16, CX
	CMPQ CX, BX
	JLT  loop1
	VZEROUPPER
	RET

// func add1LE(a *float64, w float64, x *byte, n int)
TEXT ·add1LE(SB), NOSPLIT, $0-32
	JMP ·add1(SB)
