// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"time"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

const (
	// slowStride is how many decisions there are on average to one that the slow
	// baseline learns, where its memory is worth many times more.
	slowStride = 8
	// greatest distance that is reported.
	greatest = 1e6
)

// Instant places one sample in time, in ns.
type Instant struct {
	// Due is the sample's place on the sampling grid, Taken when its values were
	// read, on one clock that only moves forward.
	Due, Taken int64
	// Interval is the sampling interval; 0: unknown, inferred from Due.
	Interval int64
	// Period is the input's own interval, which Interval may fall short of for a
	// while ([arc.Sample]); 0: Interval is its own.
	Period int64
	// Wall is the time of day, since the Unix epoch; 0: unknown, and then
	// nothing is learned about times of the week.
	Wall int64
}

// Detector judges one stream of raw vectors. It is not safe for concurrent use.
type Detector struct {
	config   Config
	identity uint64 // of the dimensions, in checkpoints
	dims     []Dimension
	vector   *Vectoriser
	trend    Trend

	fast, slow opinion
	apart      bool   // slow has a memory of its own by now
	spared     stride // of the slow baseline
	recent     moments
	sampled    stride // of recent
	shape      scale  // of ρ
	rho        float64
	rhoAge     int // decisions since rho was computed

	pending      pending
	calibration  calibration
	limit        float64 // rarity
	warning      float64 // rarity from which learning slows down
	extrapolated bool

	period    int64 // ns, for which memories were set
	decisions int   // learned since the baseline began
	elapsed   int64 // ns of decisions since the first
	previous  int64 // due time of the last decision
	warm      bool  // enough has been seen to judge
	trended   int64 // due time of the last trend update
	alarm     alarm
	plateau   plateau
	plateaus  int
	kurtosis  kurtosis
	season    *season // nil when lean
	reservoir *reservoir
	deciding  chart // of the last decision
	regime    regime
	last      arc.Judgement
}

// New returns a detector with an empty baseline.
func New(config Config) *Detector {
	config = config.withDefaults()
	n := len(config.Dimensions)
	d := &Detector{
		config: config, dims: make([]Dimension, n),
		vector: NewVectoriser(config.Dimensions, config.Period),
		trend:  NewTrend(config.Trend, config.TrendProcess, config.TrendNoise),
		recent: newMoments(n), plateau: plateau{previous: make([]float64, n)},
		spared: stride{mean: slowStride}, sampled: stride{mean: 1},
	}
	for j := range config.Dimensions {
		d.dims[j] = config.Dimensions[j].withDefaults()
	}
	d.fast = newOpinion(NewBaseline(config.Dimensions, 1))
	d.slow = newOpinion(NewBaseline(config.Dimensions, 1))
	d.slow.base.primer = nil // it begins as a copy of the fast one
	d.identity = d.fingerprint()
	d.calibration.reset()
	if !config.Lean {
		d.season = newSeason(d.fast.base, config.Dimensions)
		d.reservoir = newReservoir(n)
	}
	return d
}

// Step takes in the raw values of one sample, one a dimension, NaN where
// missing, and fills j except for its Sequence. c is what the policy asks.
func (d *Detector) Step(at Instant, raw []float64, c arc.Control, j *arc.Judgement) {
	d.vector.own = at.Period
	tick := d.vector.Push(at.Due, at.Taken, at.Interval, raw)
	if tick == TickNone {
		d.repeat(j)
		return
	}
	d.fast.score(d.vector.X)
	if d.fast.base.Present() > 0 {
		d.trend.Update(min(math.Sqrt(d.fast.d2), greatest), float64(at.Due-d.trended)/1e9)
	}
	d.trended = at.Due
	if tick == TickTrend {
		d.repeat(j)
		return
	}
	d.decide(tick, at, c)
	*j = d.last
}

// repeat gives out the last decision again, with the trend of now.
func (d *Detector) repeat(j *arc.Judgement) {
	*j = d.last
	j.Fresh, j.Accepted = false, false
	j.Velocity, j.Acceleration = d.trend.Velocity(), d.trend.Acceleration()
}

// Period is the time between two decisions on an input whose interval is interval,
// in ns (0: inferred).
func (d *Detector) Period(interval int64) time.Duration {
	return time.Duration(d.vector.Period(interval))
}

// pace sets every memory for decisions each period ns long. Input that does not
// tell its interval jitters by a little, which changes nothing.
func (d *Detector) pace(period int64) {
	d.period = period
	fast, slow := d.config.memory(period)
	d.fast.base.decay, d.slow.base.decay = fast, slow
	d.calibration.prepare(period, d.config.SlowHalfLife)
	d.pending.prepare(period, len(d.dims))
	least := float64(fewestPlateau * (len(d.dims) + 10))
	wait := max(float64(d.config.RelearnAfter)/float64(period), least)
	d.plateau.length = max(int(wait/quarters), 1)
	d.sampled.mean = max(1, min(4, int(wait/quarters/200)))
	d.recent.most = max(wait/quarters/float64(d.sampled.mean), 10)
	d.refit()
}

// refit takes up the limit that the calibration now gives.
func (d *Detector) refit() {
	d.limit, d.extrapolated = d.calibration.limit(d.config.FalseAlarmInterval)
	k := &d.calibration
	seen := time.Duration(k.history() / 4 * k.seconds * float64(time.Second))
	d.warning, _ = k.limit(min(d.config.FalseAlarmInterval/4, max(seen, 4*episodeGap)))
}

func (d *Detector) decide(tick Tick, at Instant, c arc.Control) {
	if period := d.vector.Period(at.Interval); period > d.period+d.period/4 || period < d.period-d.period/4 {
		d.pace(period)
	}
	// A gap is no time in which anything was seen.
	d.elapsed += max(0, min(at.Due-d.previous, 2*d.period))
	d.previous = at.Due
	x := d.vector.X
	o := d.opine(x, at.Wall)
	ready := d.ready()
	j := &d.last
	j.Decided, j.Ready, j.Fresh, j.Accepted = at.Taken, ready, true, false
	j.Anomalous = ready && o.rarity > d.limit
	d.deciding = o.chart
	d.report(o, j)

	switch d.alarm.step(at.Due, d.period, j.Anomalous, o.rarity, c, int64(d.config.CoolOff), d.calibration.length) {
	case alarmPassed:
		d.calibration.observePeak(d.alarm.peak)
		d.refit()
	case alarmEnded:
		d.pending.clear() // what led up to it
	case alarmNone:
	}
	if c.Frozen(at.Taken) {
		d.pending.clear()
	}
	if d.sampled.due() {
		d.recent.learn(x)
	}
	d.settle(j, c, at.Due)
	j.Regime = d.read(o, j, c)
	j.Frozen = tick == TickStretched || d.alarm.on || j.Accepted || c.Frozen(at.Taken)
	if !j.Frozen {
		d.learn(x, o, at.Wall)
	}
	if ready && d.fast.base.primer != nil {
		// Last, because what is above refers to the factor that x was scored by.
		d.fast.base.primer.estimate(d.fast.base)
		d.fast.base.primer = nil
		d.fast.charts.reconsider()
	}
}

// opine lets the baselines judge x and returns the opinion that counts, the one
// that objects least.
func (d *Detector) opine(x []float64, wall int64) *opinion {
	seasonal := d.season != nil && d.season.expect(wall, &d.fast)
	if seasonal {
		// It borrows the fast baseline, which is scored again afterwards.
		d.season.opinion.score(x)
		d.season.opinion.judge(d.limit)
		d.fast.score(x)
	}
	d.fast.judge(d.limit)
	o := &d.fast
	if d.apart {
		d.slow.score(x)
		d.slow.judge(d.limit)
		if d.slow.rarity < o.rarity+lenience {
			o = &d.slow
		} else {
			d.fast.rarity += lenience
		}
	}
	if seasonal && d.season.opinion.rarity+seasonLenience < o.rarity {
		o = &d.season.opinion
		o.rarity += seasonLenience
	}
	return o
}

// ready reports whether enough has been seen to judge.
func (d *Detector) ready() bool {
	d.warm = d.warm || d.fast.base.Present() > 0 && d.fast.charts.scale[sudden].seen >= fewestScores &&
		d.elapsed >= int64(d.config.Warmup)
	return d.warm && d.fast.base.Present() > 0
}

// lenience is how much less than the slow baseline the fast one need object, and
// seasonLenience how much less than both the time of week.
const lenience, seasonLenience = 4, 4

// fewestScores is how many scores are known before one is judged.
const fewestScores = 30

// report fills j's numbers from the opinion that counts.
func (d *Detector) report(o *opinion, j *arc.Judgement) {
	j.Distance = min(math.Sqrt(o.d2), greatest)
	j.Limit = min(o.distance(d.limit), greatest)
	j.Score = j.Distance
	if o.rarity != o.rarities[sudden] {
		j.Score = min(o.distance(o.rarity), greatest)
	}
	if o.charts.scale[sudden].seen < fewestScores {
		j.Limit = 0
	}
	if o.base.Present() == 0 {
		j.Score, j.Limit = 0, 0
	}
	j.Velocity, j.Acceleration = d.trend.Velocity(), d.trend.Acceleration()
	effective := d.fast.base.Effective()
	j.Confidence = effective / (effective + 5*float64(len(d.dims)))
	j.Extrapolated = d.extrapolated
	if o.centre == nil {
		d.explain(o, j)
		return
	}
	o.score(d.vector.X)
	d.explain(o, j)
	d.fast.score(d.vector.X)
}

// learn takes in a healthy decision: at once while the baseline begins, later
// once there is something to judge by.
func (d *Detector) learn(x []float64, o *opinion, wall int64) {
	for l := d.pending.due(d.fast.base.Effective()); l != nil; l = d.pending.due(d.fast.base.Effective()) {
		d.take(l)
	}
	l := d.pending.place()
	copy(l.x, x)
	l.wall = wall
	// What the CUSUM has accumulated below the limit counts here, that limits
	// beyond it are known.
	l.rarity = max(o.rarity, o.rarities[drift])
	l.share = d.share(l.rarity)
	l.d2 = d.fast.d2
	l.fast = weight(d.fast.d2, d.fast.clip(clipAt))
	l.charts[0].set(&d.fast.charts)
	if d.apart {
		l.slow = weight(d.slow.d2, d.slow.clip(clipAt))
		l.charts[1].set(&d.slow.charts)
	} else { // they may have parted by the time it is learned
		l.slow, l.charts[1] = l.fast, l.charts[0]
	}
	// A season that is wrong today must not learn that it always is.
	if l.seasonal = d.season != nil && d.season.active && d.season.opinion.rarity <= d.limit; l.seasonal {
		l.charts[2].set(&d.season.opinion.charts)
	}
	if d.warm {
		d.pending.placed()
		return
	}
	d.take(l)
}

// take learns a lesson.
func (d *Detector) take(l *lesson) {
	fast := d.fast.base
	if fast.count >= bootstrap && fast.total >= bootstrap {
		if d.fast.charts.scale[sudden].seen >= fewestScores {
			d.calibration.observe(l.rarity)
			if d.calibration.fitted == 0 && d.calibration.n == 0 {
				d.refit()
			}
			d.kurtosis.learn(l.d2, fast.decay)
		}
		d.fast.charts.learn(&l.charts[0], scaleFloor, l.share)
		if d.apart {
			d.slow.charts.learn(&l.charts[1], scaleFloor, l.share)
		}
		if l.seasonal {
			d.season.opinion.charts.learn(&l.charts[2], scaleFloor, l.share)
		}
	}
	d.decisions++
	estimates := fast.estimates
	fast.Learn(l.x, l.fast, l.share)
	if fast.estimates != estimates {
		d.fast.charts.reconsider()
	}
	switch {
	case d.apart:
		if d.spared.due() {
			d.slow.base.Learn(l.x, l.slow, l.share)
		}
	case fast.count >= 1/fast.decay:
		d.part()
	}
	if d.season != nil {
		d.season.learn(l.x, l.wall)
	}
	if d.reservoir != nil {
		d.reservoir.learn(l.x, int(1/fast.decay))
	}
}

// scaleFloor is the least mean excess of a chart, as a share of its quantile.
const scaleFloor = 0.005

// share is how much of an observation a decision of rarity u counts as: all of
// it up to what history has seen about once in a quarter of its length, then
// less and less, down to a tenth at the limit.
func (d *Detector) share(u float64) float64 {
	if u <= d.warning {
		return 1
	}
	if u >= d.limit {
		return cautious
	}
	return 1 - (1-cautious)*(u-d.warning)/(d.limit-d.warning)
}

// cautious is the share of an observation that a decision just below the limit
// counts as.
const cautious = 0.1

// weight is what a deviation of squared length d2 counts when it is learned.
func weight(d2, clip float64) float64 {
	if d2 > clip*clip {
		return clip / math.Sqrt(d2)
	}
	return 1
}

// part gives the slow baseline a memory of its own. Until the fast one begins to
// forget, they are the same.
func (d *Detector) part() {
	d.apart = true
	decay := d.slow.base.decay
	d.slow.base.CopyFrom(d.fast.base)
	d.slow.base.decay = decay * slowStride
	d.slow.charts.copyFrom(&d.fast.charts)
	d.remember()
}

// remember lets the load of the hours be relative to the longest memory.
func (d *Detector) remember() {
	if d.season != nil && d.apart {
		d.season.reference = d.slow.base
	}
}

// settle decides whether the state under alarm has become a plateau that is
// normal from now on.
func (d *Detector) settle(j *arc.Judgement, c arc.Control, now int64) {
	if d.rhoAge++; d.rhoAge >= max(d.fast.base.n, 64) {
		d.rhoAge = 0
		d.rho = d.recent.deformation(d.fast.base)
		if !d.alarm.on {
			d.shape.learn(d.rho, scaleFloor, 1)
		}
	}
	j.Deformation = d.rho
	if !d.alarm.on {
		d.plateau.reset()
		return
	}
	if d.alarm.elapsed == 0 {
		d.recent.reset() // of the new state only
	}
	if d.config.RelearnAfter < 0 || c.Harm || c.Frozen(now) {
		d.plateau.reset()
		return
	}
	if !d.plateau.step(j.Distance, &d.recent, d.fast.base) || !d.harmless(j) {
		return
	}
	if !d.apart {
		d.part()
	}
	adopt(d.fast.base, d.slow.base, &d.recent)
	d.alarm = alarm{}
	d.plateau.reset()
	d.plateaus++
	j.Accepted = true
	d.pending.clear()
	for _, o := range []*opinion{&d.fast, &d.slow} {
		o.charts.restart()
		o.charts.unsettle()
	}
}

// harmless reports whether what a plateau looks like allows to accept it.
func (d *Detector) harmless(j *arc.Judgement) bool {
	if j.Direction < quiet && d.season != nil && d.season.active && d.season.opinion.rarity > d.limit {
		return false // the time of week does not explain the silence
	}
	return j.Distance <= safety*j.Limit && !d.deformed()
}

// deformed reports whether ρ is out of the ordinary.
func (d *Detector) deformed() bool { return d.shape.seen >= 20 && d.shape.of(d.rho, 20) > deformed }

// explain fills contributions and direction from the opinion that counts.
func (d *Detector) explain(o *opinion, j *arc.Judgement) {
	b := o.base
	b.explain()
	j.NumContributions = 0
	j.Direction = 0
	signed, least := 0, 0.0
	for i := range d.dims {
		if !b.taking[i] {
			continue
		}
		if s := d.dims[i].Load; s != 0 {
			j.Direction += float64(s) * b.deviation[i]
			signed++
		}
		share := b.Contribution(i)
		if j.NumContributions == arc.MaxContributions && math.Abs(share) <= least {
			continue
		}
		rank(j, i, share)
		least = math.Abs(j.Contributions[j.NumContributions-1].Share)
	}
	if signed > 0 {
		j.Direction /= float64(signed)
	}
	centre := o.centre
	if centre == nil {
		centre = b.mean
	}
	for k := range j.NumContributions {
		c := &j.Contributions[k]
		i := int(c.Value)
		c.Dimension, c.Value, c.Usual = d.dims[i].Name, d.vector.Value[i], d.dims[i].inverse(centre[i])
	}
	clear(j.Contributions[j.NumContributions:])
}

// rank inserts dimension i among the contributions, largest first, in place of
// the least if there is no more room. Until all are ranked, Value holds the index
// of the dimension.
func rank(j *arc.Judgement, i int, share float64) {
	k := j.NumContributions
	if k == arc.MaxContributions {
		k--
	} else {
		j.NumContributions++
	}
	size := math.Abs(share)
	for k > 0 && math.Abs(j.Contributions[k-1].Share) < size {
		j.Contributions[k].Share, j.Contributions[k].Value = j.Contributions[k-1].Share, j.Contributions[k-1].Value
		k--
	}
	j.Contributions[k].Share, j.Contributions[k].Value = share, float64(i)
}
