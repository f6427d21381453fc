// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package healthy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Profile is what lives on a machine.
type Profile struct {
	Services []Member
	// The mean times between two of each, 0 for never. They come as they like
	// (Poisson), but for cron, which comes each minute.
	Build, RunnerBuild, Backup, Restart, Deploy time.Duration
	Cron                                        bool
}

// Member is one service of a profile.
type Member struct {
	Name string
	// Limit is memory.max in bytes.
	Limit int64
	// Arguments of the program that plays it, without its seed.
	Arguments []string
	// Deployed are rolled out anew now and then, the others restarted.
	Deployed bool
}

// serves is a member that serves load: MiB at least and at most, and the share
// of a CPU.
func serves(name string, limit, resident, peak int, share, swing float64, day time.Duration) Member {
	return Member{Name: name, Limit: int64(limit) * mebibyte, Arguments: []string{
		"service", "-resident", strconv.Itoa(resident * mebibyte), "-peak", strconv.Itoa(peak * mebibyte),
		"-share", fmt.Sprint(share), "-swing", fmt.Sprint(swing), "-day", day.String(),
	}}
}

// heap is a member with a heap.
func heap(name string, limit, size int, share float64, grow, collect time.Duration) Member {
	return Member{Name: name, Limit: int64(limit) * mebibyte, Arguments: []string{
		"runtime", "-heap", strconv.Itoa(size * mebibyte), "-grow", grow.String(), "-collect", collect.String(), "-share", fmt.Sprint(share),
	}}
}

func deployed(m Member) Member {
	m.Deployed = true
	return m
}

// base are the services of every profile. Of database, cache and search, 75 to
// 83 % of the limit is in use.
func base() []Member {
	return []Member{
		deployed(serves("web", 200, 50, 110, 0.02, 0.6, 7*time.Minute)),
		deployed(serves("api", 240, 80, 160, 0.025, 0.5, 5*time.Minute)),
		serves("database", 256, 205, 212, 0.02, 0.4, 6*time.Minute),
		serves("cache", 160, 118, 122, 0.01, 0.5, 6*time.Minute),
		heap("orders", 320, 220, 0.015, 40*time.Second, 0),
		heap("search", 200, 150, 0.01, 25*time.Second, 100*time.Second),
		{Name: "logger", Limit: 64 * mebibyte, Arguments: []string{"log", "-rate", "250000", "-rotate", strconv.Itoa(24 * mebibyte)}},
	}
}

// profiles are the machines there are.
var profiles = map[string]func() Profile{
	// services alone, with their ups and downs
	"services": func() Profile {
		return Profile{Services: base(), Restart: 6 * time.Minute, Deploy: 6 * time.Minute, Cron: true}
	},
	// a bit of everything
	"mixed": func() Profile {
		return Profile{
			Services: base(), Build: 5 * time.Minute, RunnerBuild: 6 * time.Minute, Backup: 5 * time.Minute,
			Restart: 6 * time.Minute, Deploy: 7 * time.Minute, Cron: true,
		}
	},
	// a machine that builds all day
	"builds": func() Profile {
		return Profile{Services: base()[:3], Build: 90 * time.Second, RunnerBuild: 100 * time.Second, Backup: 10 * time.Minute, Cron: true}
	},
}

// Profiles are the names of the profiles.
func Profiles() []string { return slices.Sorted(maps.Keys(profiles)) }

// ByName returns a profile.
func ByName(name string) (Profile, error) {
	p, ok := profiles[name]
	if !ok {
		return Profile{}, fmt.Errorf("no profile is called %q; there are %s", name, strings.Join(Profiles(), ", "))
	}
	return p(), nil
}
