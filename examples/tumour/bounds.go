package tumour

// Bounds returns the public range of every column, in the order of [Columns]:
// what a column may be, not what the hospitals' rows happen to be. A private
// run normalises by them, so that no statistic of the rows has to be released.
//
// Source: the summary table in scikit-learn's description of the data set
// (sklearn/datasets/descr/breast_cancer.rst), rounded outwards here to three
// places where that table rounds.
func Bounds() [][2]float64 {
	return [][2]float64{
		{6.981, 28.11}, {9.71, 39.28}, {43.79, 188.5}, {143.5, 2501}, {0.052, 0.164},
		{0.019, 0.346}, {0, 0.427}, {0, 0.202}, {0.106, 0.304}, {0.049, 0.098},
		{0.111, 2.873}, {0.36, 4.885}, {0.757, 21.98}, {6.802, 542.2}, {0.001, 0.032},
		{0.002, 0.136}, {0, 0.396}, {0, 0.053}, {0.007, 0.079}, {0, 0.03},
		{7.93, 36.04}, {12.02, 49.54}, {50.41, 251.2}, {185.2, 4254}, {0.071, 0.223},
		{0.027, 1.058}, {0, 1.252}, {0, 0.291}, {0.156, 0.664}, {0.055, 0.208},
	}
}
