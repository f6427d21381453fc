// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"time"
)

const (
	// hours of a day and a week, and how many of the load's hourly means are
	// remembered: three weeks.
	dayHours, weekHours, loadHours = 24, 7 * 24, 21 * 24
	// A day is looked for after three of them, a week after fifteen days.
	leastDay, leastWeek = 3 * dayHours, 15 * dayHours
	// seasonal is the least autocorrelation of the hourly load at a period that is
	// one; a week must beat a day by weekly.
	seasonal, weekly = 0.4, 0.1
	// visiting is the least weight of a new visit in what an hour of the week is
	// usually like.
	visiting = 0.1
)

// season knows what the hours of the day or the week are usually like. It keeps
// the mean vector of each hour of the week and hourly means of the load, whose
// autocorrelation at 24 and 168 hours (Box and Jenkins 1970, §2.1) says whether
// there is a period at all. Where there is, the mean of the present hour,
// interpolated, is the centre of a third opinion, over the fast baseline's
// covariance.
type season struct {
	opinion   opinion
	reference *Baseline // in whose σ, about whose mean, the load is
	n         int

	mean   []float32 // weekHours × n
	visits [weekHours]uint8
	load   [loadHours]float32 // ring, NaN where nothing was learned
	hours  int                // in the ring

	hour  int64 // since the epoch, being learned; 0: none
	sum   []float64
	count int

	length int // hours in the period found: 0, 24 or 168
	active bool
	anchor int64 // hour whose middle is before the present
	from   []float64
	to     []float64
	known  bool // both anchors are
	sign   []float64
}

func newSeason(base *Baseline, dims []Dimension) *season {
	n := base.n
	s := &season{
		opinion: newOpinion(base), reference: base, n: n, mean: make([]float32, weekHours*n), sum: make([]float64, n),
		from: make([]float64, n), to: make([]float64, n), sign: make([]float64, n), anchor: math.MinInt64,
	}
	s.opinion.centre = make([]float64, n)
	for j, d := range dims {
		s.sign[j] = float64(d.Load)
		if d.Load == 0 {
			s.sign[j] = 1
		}
	}
	return s
}

// period is the season found.
func (s *season) period() time.Duration { return time.Duration(s.length) * time.Hour }

const hourLength = int64(time.Hour)

// learn takes in a healthy vector at a time of day, ns since the epoch.
func (s *season) learn(x []float64, wall int64) {
	if wall <= 0 {
		return
	}
	hour := wall / hourLength
	if hour != s.hour {
		s.turn(hour)
	}
	for j, v := range x {
		if v-v != 0 {
			v = s.opinion.base.mean[j]
		}
		s.sum[j] += v
	}
	s.count++
}

// turn closes the hour being learned and begins another.
func (s *season) turn(hour int64) {
	if s.count == 0 && s.hour > 0 {
		s.push(float32(math.NaN())) // lost in a restart
	}
	if s.count > 0 {
		slot := int(s.hour % weekHours)
		if s.visits[slot] < math.MaxUint8 {
			s.visits[slot]++
		}
		w := max(visiting, 1/float64(s.visits[slot]))
		row := s.mean[slot*s.n : (slot+1)*s.n]
		var load float64
		for j := range s.sum {
			m := s.sum[j] / float64(s.count)
			row[j] += float32(w * (m - float64(row[j])))
			// Centred, because σ moves: in uncentred values that would be a trend.
			load += s.sign[j] * (m - s.reference.mean[j]) * s.reference.inverse[j] / float64(s.n)
		}
		s.push(float32(max(-unheard, min(unheard, load))))
	}
	if s.hour > 0 {
		// Hours of which nothing was learned leave a gap; a clock that was set
		// begins anew.
		gap := hour - s.hour - 1
		if gap < 0 || gap > loadHours {
			s.hours = 0
		} else {
			for range gap {
				s.push(float32(math.NaN()))
			}
		}
		s.seek()
	}
	s.hour, s.count = hour, 0
	clear(s.sum)
	s.anchor = math.MinInt64
}

func (s *season) push(load float32) {
	if s.hours == loadHours {
		copy(s.load[:], s.load[1:])
		s.hours--
	}
	s.load[s.hours] = load
	s.hours++
}

// seek looks for a period in the load.
func (s *season) seek() {
	s.length = 0
	if s.hours < leastDay {
		return
	}
	day, half := s.autocorrelation(dayHours), s.autocorrelation(dayHours/2)
	if day > seasonal && day > half {
		s.length = dayHours
	}
	if s.hours < leastWeek {
		return
	}
	if week := s.autocorrelation(weekHours); week > seasonal && week > day+weekly {
		s.length = weekHours
	}
}

// autocorrelation of the load at a lag in hours, over the hours that were learned.
func (s *season) autocorrelation(lag int) float64 {
	var mean, n float64
	for _, v := range s.load[:s.hours] {
		if v == v {
			mean += float64(v)
			n++
		}
	}
	mean /= max(n, 1)
	var cross, first, second float64
	pairs := 0
	for k := lag; k < s.hours; k++ {
		a, b := float64(s.load[k-lag])-mean, float64(s.load[k])-mean
		if a-b != a-b {
			continue
		}
		cross, first, second = cross+a*b, first+a*a, second+b*b
		pairs++
	}
	if pairs < dayHours || !(first > 0 && second > 0) {
		return 0
	}
	return cross / math.Sqrt(first*second)
}

// expect sets the centre for a time of day and reports whether there is one.
func (s *season) expect(wall int64, fast *opinion) bool {
	if s.length == 0 || wall <= hourLength {
		s.active = false
		return false
	}
	since := wall - hourLength/2
	if anchor := since / hourLength; anchor != s.anchor {
		s.anchor = anchor
		s.known = s.usual(anchor, s.from) && s.usual(anchor+1, s.to)
	}
	if !s.known {
		s.active = false
		return false
	}
	f := float64(since%hourLength) / float64(hourLength)
	for j := range s.opinion.centre {
		s.opinion.centre[j] = s.from[j] + f*(s.to[j]-s.from[j])
	}
	if !s.active {
		s.active = true
		s.opinion.charts.copyFrom(&fast.charts)
	}
	return true
}

// usual fills m with what an hour is usually like and reports whether that is
// known.
func (s *season) usual(hour int64, m []float64) bool {
	clear(m)
	slots := 0
	for slot := int(hour % int64(s.length)); slot < weekHours; slot += s.length {
		if s.visits[slot] == 0 {
			continue
		}
		slots++
		for j, v := range s.mean[slot*s.n : (slot+1)*s.n] {
			m[j] += float64(v)
		}
	}
	for j := range m {
		m[j] /= float64(max(slots, 1))
	}
	return slots > 0
}
