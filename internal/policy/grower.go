// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import "math"

// grower is one cgroup that grows.
type grower struct {
	slot   int32
	growth float64 // descendants included
	own    float64 // without what its children account for
	sorted float64 // what it is ranked by
}

// ownShare of its growth must be a cgroup's own for the growth to be attributed
// to it and not to its children.
const ownShare = 0.9

// maxGrowers bounds the cgroups whose growth is estimated at one tick.
const maxGrowers = 48

// ranked is something that cgroups have a rate of.
type ranked interface {
	// quick is cheap and bounds rate from above, roughly.
	quick(slot int32) float64
	rate(slot int32) float64
}

// growers fills into with the cgroups whose rate of r is above least, by what is
// their own of it, fastest first.
func (t *table) growers(r ranked, least float64, into []grower) []grower {
	into = into[:0]
	for s := range t.ids {
		if t.ids[s] == 0 || t.row[s] < 0 {
			continue
		}
		quick := r.quick(int32(s))
		if quick < least || math.IsNaN(quick) {
			continue
		}
		into = insert(into, grower{slot: int32(s), sorted: quick}, maxGrowers)
	}
	for i := range into {
		c := &into[i]
		c.growth = r.rate(c.slot)
		c.own = c.growth
	}
	for i := range into {
		p := t.parent(into[i].slot)
		for k := range into {
			if p >= 0 && into[k].slot == p {
				into[k].own -= into[i].growth
			}
		}
	}
	for i := range into {
		c := &into[i]
		c.sorted = c.own
		// A cgroup whose children hold the growth is not where it comes from.
		if c.own < ownShare*c.growth && hasGrowingChild(t, into, c.slot) {
			c.sorted = 0
		}
	}
	kept := into[:0]
	for _, c := range into {
		if c.sorted >= least {
			kept = insert(kept, c, maxGrowers)
		}
	}
	return kept
}

func hasGrowingChild(t *table, among []grower, slot int32) bool {
	for i := range among {
		if among[i].slot != slot && t.parent(among[i].slot) == slot {
			return true
		}
	}
	return false
}

// insert puts c into list, which is sorted in descending order and holds at
// most limit entries.
func insert(list []grower, c grower, limit int) []grower {
	if len(list) == limit {
		if list[limit-1].sorted >= c.sorted {
			return list
		}
		list = list[:limit-1]
	}
	i := len(list)
	list = append(list, c)
	for ; i > 0 && list[i-1].sorted < c.sorted; i-- {
		list[i] = list[i-1]
	}
	list[i] = c
	return list
}
