package secagg

import "slices"

// recoverSecret finds the secret although some holders lie: holders and shares are
// all that arrived, accept says whether a secret is the committed one. It first
// leaves out one of the first holders at a time, which needs a single
// spare share, and then decodes limb by limb (Berlekamp and Welch), which
// corrects as many lies as half the spare shares. It returns the secret and
// the holders whose shares are not on its polynomial.
func recoverSecret(holders []int, shares []scalar, threshold int, accept func([32]byte) bool) (secret [32]byte, liars []int, ok bool) {
	if len(holders) <= threshold {
		return secret, nil, false // nothing to spare
	}
	for out := range threshold + 1 {
		xs := slices.Delete(slices.Clone(holders[:threshold+1]), out, out+1)
		ys := slices.Delete(slices.Clone(shares[:threshold+1]), out, out+1)
		if secret, ok := combine(basis(xs, 0), ys).secret(); ok && accept(secret) {
			return secret, offCurve(xs, ys, holders, shares), true
		}
	}
	var whole scalar
	curves := make([][]element, limbs)
	for limb := range limbs {
		values := make([]element, len(shares))
		for i, s := range shares {
			values[i] = s[limb]
		}
		if curves[limb], ok = welch(holders, values, threshold); !ok {
			return secret, nil, false
		}
		whole[limb] = curves[limb][0]
	}
	if secret, ok = whole.secret(); !ok || !accept(secret) {
		return secret, nil, false
	}
	for i, h := range holders {
		for limb := range limbs {
			if evaluate(curves[limb], element(h)) != shares[i][limb] {
				liars = append(liars, h)
				break
			}
		}
	}
	return secret, liars, true
}

// offCurve returns the holders whose shares are not on the polynomial through
// the given points.
func offCurve(xs []int, ys []scalar, holders []int, shares []scalar) (liars []int) {
	for i, h := range holders {
		if slices.Contains(xs, h) {
			continue
		}
		if combine(basis(xs, element(h)), ys) != shares[i] {
			liars = append(liars, h)
		}
	}
	return liars
}

// welch returns the coefficients of the polynomial of degree below threshold
// that all but at most (len-threshold)/2 of the values lie on.
//
// It solves Q(x) = y·E(x), E monic of degree e, Q of degree below e+threshold,
// and divides. Source: Berlekamp and Welch, US patent 4,633,470 (expired); Gemmell and
// Sudan, Information Processing Letters 43 (1992).
func welch(holders []int, values []element, threshold int) ([]element, bool) {
	e := (len(holders) - threshold) / 2
	if e == 0 {
		return nil, false
	}
	unknowns := 2*e + threshold // e of E, e+threshold of Q
	rows := make([][]element, len(holders))
	for i, h := range holders {
		row := make([]element, unknowns+1)
		power := element(1)
		for j := range e + threshold {
			row[e+j] = power
			if j < e {
				row[j] = element(0).sub(values[i].mul(power))
			}
			if j == e {
				row[unknowns] = values[i].mul(power)
			}
			power = power.mul(element(h))
		}
		rows[i] = row
	}
	x, ok := solve(rows, unknowns)
	if !ok {
		return nil, false
	}
	return divide(x[e:], append(slices.Clone(x[:e]), 1))
}

// solve returns a solution of the linear equations, free unknowns 0.
func solve(rows [][]element, unknowns int) ([]element, bool) {
	pivots := make([]int, 0, unknowns) // column of each row's pivot
	for col := 0; col < unknowns && len(pivots) < len(rows); col++ {
		at := len(pivots)
		found := slices.IndexFunc(rows[at:], func(r []element) bool { return r[col] != 0 })
		if found < 0 {
			continue
		}
		rows[at], rows[at+found] = rows[at+found], rows[at]
		scale := rows[at][col].inverse()
		for j := col; j <= unknowns; j++ {
			rows[at][j] = rows[at][j].mul(scale)
		}
		for i, row := range rows {
			if f := row[col]; i != at && f != 0 {
				for j := col; j <= unknowns; j++ {
					row[j] = row[j].sub(f.mul(rows[at][j]))
				}
			}
		}
		pivots = append(pivots, col)
	}
	for _, row := range rows[len(pivots):] {
		if row[unknowns] != 0 {
			return nil, false
		}
	}
	x := make([]element, unknowns)
	for i, col := range pivots {
		x[col] = rows[i][unknowns]
	}
	return x, true
}

// divide returns a/b for monic b, if b divides a.
func divide(a, b []element) ([]element, bool) {
	rest := slices.Clone(a)
	quotient := make([]element, len(a)-len(b)+1)
	for i := len(rest) - len(b); i >= 0; i-- {
		f := rest[i+len(b)-1]
		quotient[i] = f
		for j, c := range b {
			rest[i+j] = rest[i+j].sub(f.mul(c))
		}
	}
	for _, r := range rest {
		if r != 0 {
			return nil, false
		}
	}
	return quotient, true
}

func evaluate(coefficients []element, x element) (y element) {
	for i := len(coefficients) - 1; i >= 0; i-- {
		y = y.mul(x).add(coefficients[i])
	}
	return y
}
