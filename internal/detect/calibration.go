// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"time"
)

const (
	// fewestMaxima in the tail are needed to fit it at all.
	fewestMaxima = 4
	// leastLimit is the least rarity that ever alarms: a limit that fell into the
	// body of the healthy scores would shut out those that could raise it again.
	leastLimit = 2
	// Rarities from −offset up are counted in bins that widen geometrically, 32
	// to each doubling of u + offset.
	bins, octave, offset = 512, 32, 4
	// tailShare of the block maxima, at least fewestTail and at most mostTail,
	// lie in the tail that is fitted, but never more than mostShare of them.
	tailShare, fewestTail, mostTail, mostShare = 0.15, 20, 200, 0.34
	// mergingShare of the block maxima are so high that two in a row are taken
	// for one excursion.
	mergingShare = 0.1
	// longestCluster is how many blocks one excursion may take: what lasts longer
	// is another level, which has to be counted to be known.
	longestCluster = 8
	// The shape of the tail is drawn to priorShape with the weight of shapeWeight
	// maxima, its scale to priorScale with that of scaleWeight: nearly those of an
	// exponential in rarities. Drawn less, an extrapolation varies by more than
	// there is between a burst and a leak.
	shapeWeight, priorShape = 80, -0.09
	scaleWeight, priorScale = 18, 0.9
	// leastShape and greatestShape bound the generalised Pareto shape: what a few
	// hundred maxima can tell.
	leastShape, greatestShape = -0.4, 0.4
	// The belief that the first maxima join counts like beliefBlocks of them, and
	// its tail falls like that of a generalised Pareto of shape beliefShape:
	// heavier than what most machines show, so that little history errs to the
	// quiet side.
	beliefBlocks, beliefShape = 2.0, 0.02
	// The first maxima, of a young baseline, count less than later ones: weights
	// grow with the power ripening of time.
	ripening = 1.5
	// doubt is added to the limit for every power of ten that it is extrapolated
	// beyond the history: what was never seen is looked at once, not often.
	doubt = 0.6
	// episodeGap ends an episode, and is the length of a block: 30 s, at least
	// episodeDecisions.
	episodeGap       = 30 * time.Second
	episodeDecisions = 5
)

// calibration turns the history of healthy rarities into a limit that is
// exceeded, as far as the future resembles the past, once in a given interval:
// peaks over threshold (Pickands 1975; Siffer et al. 2017 for streams) on block
// maxima. A block is as long as the gap that ends an episode, and maxima of
// adjoining blocks in the tail are one cluster (Leadbetter 1991), so what it
// counts is episodes and not decisions.
//
// The maxima are kept as a histogram that forgets exponentially; near the data
// the limit is a quantile of it, smoothed by the fit; beyond its length it is
// an extrapolation, and says so.
type calibration struct {
	count   [bins]float32
	blocks  float64 // Σ count, plus those merged away
	total   float64 // blocks ever
	weight  float64 // of a new block, grows instead of all others decaying
	decay   float64 // per block
	length  int     // decisions in a block
	seconds float64 // in a block

	n    int     // decisions in the open block
	peak float64 // its maximum
	// The cluster that is open: its bin, -1 if none, and the weight it has there.
	lastBin    int
	lastWeight float64
	merged     int // blocks in it

	merging                 float64 // maxima beyond it in adjoining blocks are one cluster
	threshold, scale, shape float64
	share                   float64 // of blocks in the tail
	fitted                  int     // blocks closed since the last fit
}

// prepare sets the block for decisions each period ns long and a memory of so
// many blocks.
func (k *calibration) prepare(period int64, memory time.Duration) {
	length := max(int((int64(episodeGap)+period-1)/period), episodeDecisions)
	seconds := float64(int64(length)*period) / 1e9
	k.decay = math.Exp2(-1 / max(memory.Seconds()/seconds, 2048))
	if length == k.length && seconds == k.seconds {
		return
	}
	// Another rate of decisions: maxima over as much time stay what they were.
	k.length, k.seconds = length, seconds
	k.n, k.peak = 0, math.Inf(-1)
	if k.weight == 0 {
		k.reset()
	}
}

func (k *calibration) reset() {
	k.count = [bins]float32{}
	k.total, k.blocks, k.weight, k.n, k.peak, k.lastBin, k.fitted = 0, 0, 1, 0, math.Inf(-1), -1, 0
	k.merging, k.threshold, k.scale, k.shape, k.share = math.Inf(1), math.Inf(1), 1, 0, 0
}

// history is how many blocks the calibration looks back on.
func (k *calibration) history() float64 { return min(k.total, 1/(1-k.decay)) }

// evidence is how many blocks the history is worth, those long ago counting
// less.
func (k *calibration) evidence() float64 { return k.blocks / k.weight }

func bin(u float64) int {
	return max(0, min(bins-1, int(octave*math.Log2(1+max(0, u+offset)/offset))))
}

// value is the upper end of bin i.
func value(i int) float64 { return offset*(math.Exp2(float64(i+1)/octave)-1) - offset }

// observe takes in the rarity of one healthy decision.
func (k *calibration) observe(u float64) {
	k.peak = max(k.peak, u)
	k.n++
	if k.n >= k.length {
		k.close()
	}
}

// observePeak takes in an alarm that proved healthy.
func (k *calibration) observePeak(u float64) {
	k.peak = max(k.peak, u)
	k.close()
}

// close ends the open block.
func (k *calibration) close() {
	b := bin(k.peak)
	k.blocks += k.weight
	switch {
	case k.lastBin >= 0 && k.peak > k.merging && k.merged < longestCluster:
		k.merged++
		// The excursion goes on: one cluster, of which the greatest counts.
		if b > k.lastBin {
			k.count[k.lastBin] = max(0, k.count[k.lastBin]-float32(k.lastWeight))
			k.count[b] += float32(k.lastWeight)
			k.lastBin = b
		}
	default:
		k.count[b] += float32(k.weight)
		k.lastBin = -1
		if k.peak > k.merging {
			k.lastBin, k.lastWeight, k.merged = b, k.weight, 1
		}
	}
	k.n, k.peak = 0, math.Inf(-1)
	k.total++
	k.weight /= min(k.decay, 1-ripening/(k.total+4))
	if k.weight > 1e6 {
		for i := range k.count {
			k.count[i] = max(0, k.count[i]/float32(k.weight))
		}
		k.blocks /= k.weight
		k.lastWeight /= k.weight
		k.weight = 1
	}
	k.fitted++
	if float64(k.fitted) >= max(1, min(64, k.history()/8)) {
		k.fit()
	}
}

// fit estimates the generalised Pareto distribution of the excesses over the
// threshold by probability-weighted moments (Hosking and Wallis 1987), drawn
// towards an exponential.
func (k *calibration) fit() {
	k.fitted = 0
	var blocks float64 // those merged away are not in the histogram
	for _, c := range k.count {
		blocks += float64(c)
	}
	blocks /= k.weight
	want := min(max(tailShare*blocks, fewestTail), mostTail, mostShare*blocks)
	if want < fewestMaxima {
		return
	}
	// From the top down: mass above, its mean and its first weighted moment.
	var mass, a0, a1 float64
	merged := false
	i := bins - 1
	for ; i > 0; i-- {
		c := float64(k.count[i]) / k.weight
		if c <= 0 {
			continue
		}
		if mass+c > want && mass > 0 {
			break
		}
		if mass+c > mergingShare*blocks && !merged {
			k.merging, merged = value(i), true
		}
		x := (value(i) + value(i-1)) / 2
		a0 += c * x
		// The exceedance probability of these is between mass and mass + c.
		a1 += c * x * (mass + c/2)
		mass += c
	}
	if mass <= 0 {
		return
	}
	k.threshold = value(i)
	k.share = mass / k.evidence()
	b0 := a0/mass - k.threshold
	b1 := a1/(mass*mass) - k.threshold/2
	shape := 0.0
	if b0 > 2*b1 && b1 > 0 {
		shape = 2 - b0/(b0-2*b1)
	} else if b0 > 0 {
		shape = greatestShape
	}
	k.shape = max(leastShape, min(greatestShape, (mass*shape+shapeWeight*priorShape)/(mass+shapeWeight)))
	k.scale = max((mass*b0+scaleWeight*priorScale)/(mass+scaleWeight)*(1-k.shape), 1e-3)
}

// exceeded is the probability that the maximum of a block lies beyond u.
func (k *calibration) exceeded(u float64) float64 {
	blocks := k.evidence()
	belief := min(1, (1-body)*float64(k.length)*math.Pow(1+beliefShape*max(u, 0), -1/beliefShape))
	var p float64
	if k.share == 0 {
		return belief
	}
	if u >= k.threshold {
		if math.Abs(k.shape) < 1e-6 {
			p = k.share * math.Exp(-(u-k.threshold)/k.scale)
		} else if y := 1 + k.shape*(u-k.threshold)/k.scale; y > 0 {
			p = k.share * math.Pow(y, -1/k.shape)
		}
	} else {
		p = k.share + (1-k.share)*min(1, (k.threshold-u)/k.scale)
	}
	return (blocks*p + beliefBlocks*belief) / (blocks + beliefBlocks)
}

// limit returns the rarity whose exceedances are interval apart on average, and
// whether that is further than the history reaches.
func (k *calibration) limit(interval time.Duration) (u float64, extrapolated bool) {
	blocks := interval.Seconds() / k.seconds
	want := min(1/blocks, 0.5)
	lo, hi := -float64(offset), 1e4
	for range 60 {
		mid := (lo + hi) / 2
		if k.exceeded(mid) > want {
			lo = mid
		} else {
			hi = mid
		}
	}
	if beyond := blocks / max(k.history(), 1); beyond > 1 {
		return max(hi, leastLimit) + doubt*math.Log10(beyond), true
	}
	return max(hi, leastLimit), false
}
