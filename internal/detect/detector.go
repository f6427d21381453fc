// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// smoothing is λ of the multivariate EWMA: it looks back on about
	// 2/λ − 1 = 9 decisions.
	smoothing = 0.2
	// clipping is the part of the theoretical limit beyond which a deviation is
	// clipped before it is learned. At 16 dimensions and the default interval it
	// leaves 99 % of Gaussian observations alone.
	clipping = 1
	// passing is the longest alarm, in decisions, that counts as a healthy spike
	// afterwards: its peak calibrates the limit. Without that the limit would be
	// blind to exactly the spikes it should learn to tolerate.
	passing = 50
	// settled is how many decisions the baseline sees before scores calibrate
	// the limit.
	settled = 3 * bootstrap
	// fewest decisions that a baseline judges on, whatever the warm-up says, per
	// dimension.
	fewest = 4
	// greatest distance that is reported.
	greatest = 1e6
)

// Config of a [Detector].
type Config struct {
	Dimensions []Dimension
	// Period is the shortest decision period. Default 100 ms.
	Period time.Duration
	// Warmup is how long the baseline learns before it judges: at least four
	// decisions a dimension. Default 30 s.
	Warmup time.Duration
	// HalfLife is the age at which an observation counts half. Default 30 min.
	HalfLife time.Duration
	// FalseAlarmInterval is the mean time between decisions that are anomalous
	// by chance which the limit aims at. Default 24 h.
	FalseAlarmInterval time.Duration
	// CoolOff bounds the time after an alarm in which nothing is learned; it is
	// otherwise as long as the alarm was. Default 30 s.
	CoolOff time.Duration
	// RelearnAfter is how long an alarm of its own may keep a detector from
	// learning. After it, unless the control word froze learning or reported
	// harm meanwhile, the new state is accepted and learned from nothing.
	// Default 10 min; negative: never.
	RelearnAfter time.Duration
	// TrendProcess and TrendNoise configure the [Trend] of the distance.
	// Defaults 20 and 0.05.
	TrendProcess, TrendNoise float64
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.Period, 100*time.Millisecond)
	set(&c.Warmup, 30*time.Second)
	set(&c.HalfLife, 30*time.Minute)
	set(&c.FalseAlarmInterval, 24*time.Hour)
	set(&c.CoolOff, 30*time.Second)
	set(&c.RelearnAfter, 10*time.Minute)
	if c.TrendProcess == 0 {
		c.TrendProcess = 20
	}
	if c.TrendNoise == 0 {
		c.TrendNoise = 0.05
	}
	return c
}

// Detector judges one stream of raw vectors. It is not safe for concurrent use.
type Detector struct {
	config Config
	dims   []Dimension
	vector *Vectoriser
	base   *Baseline
	trend  Trend
	theory theory
	sudden tail // of the distance
	steady tail // of the smoothed distance

	period    int64 // ns, for which decay was computed
	decisions int   // learned since the baseline began
	smooth    []float64
	scratch   []float64
	trended   int64 // due time of the last trend update
	alarm     alarm
	spike     spike
	last      arc.Judgement
}

// New returns a detector with an empty baseline.
func New(config Config) *Detector {
	config = config.withDefaults()
	n := len(config.Dimensions)
	d := &Detector{
		config: config, dims: make([]Dimension, n),
		vector: NewVectoriser(config.Dimensions, config.Period),
		trend:  NewTrend(config.TrendProcess, config.TrendNoise),
		smooth: make([]float64, n), scratch: make([]float64, n),
		spike: spike{x: make([]float64, passing*n), d: n},
	}
	floors := make([]float64, n)
	for j := range config.Dimensions {
		d.dims[j] = config.Dimensions[j].withDefaults()
		floors[j] = d.dims[j].Floor
	}
	d.base = NewBaseline(floors, 1)
	d.relearn()
	return d
}

// relearn begins an empty baseline. The history of raw values and the trend stay.
func (d *Detector) relearn() {
	d.base.Reset()
	d.sudden.reset()
	d.steady.reset()
	clear(d.smooth)
	d.spike.n = 0
	d.decisions = 0
	d.alarm = alarm{}
}

// Instant places one sample in time, in ns.
type Instant struct {
	// Due is the sample's place on the sampling grid, Taken when its values were
	// read, on one clock that only moves forward.
	Due, Taken int64
	// Interval is the sampling interval; 0: unknown, inferred from Due.
	Interval int64
	// Wall is the time of day, since the Unix epoch; 0: unknown, and then
	// nothing is learned about times of the week.
	Wall int64
}

// Step takes in the raw values of one sample, one a dimension, NaN where
// missing, and fills j except for its Sequence. c is what the policy asks.
func (d *Detector) Step(at Instant, raw []float64, c arc.Control, j *arc.Judgement) {
	due, taken, interval := at.Due, at.Taken, at.Interval
	tick := d.vector.Push(due, taken, interval, raw)
	if tick == TickNone {
		d.repeat(j)
		return
	}
	d2 := d.base.Score(d.vector.X)
	distance := min(math.Sqrt(d2), greatest)
	if d.base.Present() > 0 {
		d.trend.Update(distance, float64(due-d.trended)/1e9)
	}
	d.trended = due
	if tick == TickTrend {
		d.repeat(j)
		return
	}
	d.decide(tick, due, taken, interval, d2, distance, c)
	*j = d.last
}

// repeat gives out the last decision again, with the trend of now.
func (d *Detector) repeat(j *arc.Judgement) {
	*j = d.last
	j.Fresh = false
	j.Velocity, j.Acceleration = d.trend.Velocity(), d.trend.Acceleration()
}

func (d *Detector) decide(tick Tick, due, taken, interval int64, d2, distance float64, c arc.Control) {
	period := d.vector.Period(interval)
	if period != d.period {
		d.period = period
		d.base.decay = -math.Expm1(-math.Ln2 * float64(period) / float64(d.config.HalfLife))
	}
	// Two charts share the false alarms allowed.
	n := max(2*float64(d.config.FalseAlarmInterval)/float64(period), 20)
	unit := d.theory.at(1/n, d.base.Dimensions(), d.base.Effective())
	steady := d.smoothed(distance, unit)

	limit := unit * d.sudden.level(n)
	score := max(distance, limit*steady/(unit*d.steady.level(n)))
	if d.base.Present() == 0 {
		limit, score = 0, 0
	}
	ready := d.decisions >= fewest*len(d.dims) && int64(d.decisions)*period >= int64(d.config.Warmup) && d.base.Present() > 0

	j := &d.last
	j.Decided, j.Ready, j.Fresh = taken, ready, true
	j.Anomalous = ready && score > limit
	j.Distance, j.Score, j.Limit = distance, min(score, greatest), limit
	j.Velocity, j.Acceleration = d.trend.Velocity(), d.trend.Acceleration()
	effective := d.base.Effective()
	j.Confidence = effective / (effective + 5*float64(len(d.dims)))
	d.explain(j)

	switch d.alarm.step(due, period, j.Anomalous, c, &d.config) {
	case alarmAccepted:
		d.relearn()
	case alarmPassed:
		d.forgive(unit)
	}
	j.Frozen = tick == TickStretched || d.alarm.active() || c.Frozen(taken)
	if d.alarm.active() {
		d.spike.push(d.vector.X)
	} else if d.spike.n > 0 {
		d.spike.n = 0
		d2 = d.base.Score(d.vector.X) // forgive has scored others since
	}
	if j.Frozen {
		return
	}
	if d.decisions >= settled && d.base.Present() > 0 {
		d.sudden.observe(distance / unit)
		d.steady.observe(steady / unit)
	}
	d.decisions++
	d.base.Learn(d.vector.X, d2, clipping*unit)
}

// smoothed advances the multivariate EWMA of the deviations (Lowry, Woodall,
// Champ and Rigdon 1992, eq. 2.2) and returns its distance in units of D_M: what
// persists stands out of what merely spikes. Deviations beyond the theoretical
// limit are clipped to it, so that one burst alone never alarms this chart.
func (d *Detector) smoothed(distance, unit float64) float64 {
	w := smoothing
	if distance > unit {
		w *= unit / distance
	}
	for j, v := range d.base.deviation {
		d.smooth[j] += w*v - smoothing*d.smooth[j]
	}
	copy(d.scratch, d.smooth)
	return math.Sqrt((2 - smoothing) / smoothing * d.base.Distance2(d.scratch))
}

// forgive learns the vectors of an alarm that was short and did no harm, and
// lets the tail know how far out the greatest of them still is after that: the
// next spike of its kind is not news.
func (d *Detector) forgive(unit float64) {
	for k := range d.spike.n {
		x := d.spike.at(k)
		d.base.Learn(x, d.base.Score(x), clipping*unit)
	}
	var peak, steady float64
	clear(d.smooth)
	for k := range d.spike.n {
		distance := math.Sqrt(d.base.Score(d.spike.at(k)))
		peak = max(peak, distance)
		steady = max(steady, d.smoothed(distance, unit))
	}
	d.sudden.learn(peak / unit)
	d.steady.learn(steady / unit)
}

// spike keeps the vectors of the alarm that is on.
type spike struct {
	x []float64 // passing × n
	d int
	n int
}

func (s *spike) push(x []float64) {
	if s.n < passing {
		copy(s.x[s.n*s.d:], x)
		s.n++
	}
}

func (s *spike) at(k int) []float64 { return s.x[k*s.d : (k+1)*s.d] }

// explain fills contributions and direction.
func (d *Detector) explain(j *arc.Judgement) {
	j.NumContributions = 0
	j.Direction = 0
	signed := 0
	for i := range d.dims {
		if !d.base.taking[i] {
			continue
		}
		if s := d.dims[i].Load; s != 0 {
			j.Direction += float64(s) * d.base.deviation[i] / d.base.Deviation(i)
			signed++
		}
		d.rank(j, i, d.base.Contribution(i))
	}
	if signed > 0 {
		j.Direction /= float64(signed)
	}
	for k := range j.NumContributions {
		c := &j.Contributions[k]
		i := int(c.Value)
		c.Dimension, c.Value, c.Usual = d.dims[i].Name, d.vector.Value[i], d.dims[i].inverse(d.base.Mean(i))
	}
	clear(j.Contributions[j.NumContributions:])
}

// rank inserts dimension i among the contributions, largest first. Until all
// are ranked, Value holds the index of the dimension.
func (d *Detector) rank(j *arc.Judgement, i int, share float64) {
	k := j.NumContributions
	if k == arc.MaxContributions {
		if math.Abs(share) <= math.Abs(j.Contributions[k-1].Share) {
			return
		}
		k--
	} else {
		j.NumContributions++
	}
	for k > 0 && math.Abs(j.Contributions[k-1].Share) < math.Abs(share) {
		j.Contributions[k].Share, j.Contributions[k].Value = j.Contributions[k-1].Share, j.Contributions[k-1].Value
		k--
	}
	j.Contributions[k].Share, j.Contributions[k].Value = share, float64(i)
}
