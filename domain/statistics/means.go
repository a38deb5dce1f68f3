package statistics

import "math"

// Welch compares the means of two samples that may differ in variance. The
// statistic is t, DF is Satterthwaite's.
// Errors: [ErrEmpty] below two values; [ErrNotFinite]; [ErrDegenerate] when
// neither sample varies.
// Source: Welch, Biometrika 34 (1947); Satterthwaite, Biometrics 2 (1946).
func Welch(x, y []float64, alt Alternative) (Result, error) {
	if len(x) < 2 || len(y) < 2 {
		return Result{}, ErrEmpty
	}
	mx, vx, err := Moments(x)
	if err != nil {
		return Result{}, err
	}
	my, vy, err := Moments(y)
	if err != nil {
		return Result{}, err
	}
	return WelchFrom(mx, vx, len(x), my, vy, len(y), alt)
}

// WelchFrom is [Welch] from means, variances (n-1 below the line) and sizes.
func WelchFrom(mx, vx float64, nx int, my, vy float64, ny int, alt Alternative) (Result, error) {
	if nx < 2 || ny < 2 {
		return Result{}, ErrEmpty
	}
	a, b := vx/float64(nx), vy/float64(ny)
	switch spread := a + b; {
	case math.IsNaN(spread+mx+my) || math.IsInf(spread+mx+my, 0):
		return Result{}, ErrNotFinite
	case !(spread > 0):
		return Result{}, ErrDegenerate
	}
	t := (mx - my) / math.Sqrt(a+b)
	df := (a + b) * (a + b) / (a*a/float64(nx-1) + b*b/float64(ny-1))
	r := Result{Statistic: t, DF: df}
	switch alt {
	case Greater:
		r.P = StudentSurvival(t, df)
	case Less:
		r.P = StudentSurvival(-t, df)
	default:
		r.P = min(1, 2*StudentSurvival(math.Abs(t), df))
	}
	return r, nil
}
