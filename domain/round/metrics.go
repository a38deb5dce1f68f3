package round

// Possible says whether a site can have counted this: nothing is negative, and
// no more rows are right than were looked at.
func (m Metrics) Possible() bool {
	return m.Examples >= 0 && m.Evaluated >= 0 && m.Correct >= 0 && m.Correct <= m.Evaluated && m.LossMicros >= 0
}
