// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Safelist tells which cgroups are never aimed at. The guard has its own, harder
// list; this one keeps the policy from asking for what would be refused.
type Safelist struct {
	patterns []string
	own      string
}

// NewSafelist makes a safelist of patterns (the syntax of [path.Match], on paths
// relative to the cgroup root) and of own, the path of the collector's cgroup.
// A pattern protects what it matches and everything below; own protects itself,
// everything below and all its ancestors. A pattern without a slash is matched
// against the last element of a path; one with a slash has to start with one.
func NewSafelist(patterns []string, own string) (*Safelist, error) {
	s := &Safelist{own: own}
	for _, p := range patterns {
		if err := validPattern(p); err != nil {
			return nil, fmt.Errorf("pattern %q: %w", p, err)
		}
		s.patterns = append(s.patterns, p)
	}
	return s, nil
}

// validPattern refuses what could match no cgroup: paths are absolute and clean.
func validPattern(p string) error {
	if p == "" {
		return errors.New("an empty pattern protects nothing")
	}
	if _, err := path.Match(p, ""); err != nil {
		return err
	}
	if strings.HasSuffix(p, "/") {
		return errors.New("a pattern with a slash at its end protects nothing: leave the slash out")
	}
	if !strings.HasPrefix(p, "/") && strings.Contains(p, "/") {
		return errors.New("a pattern with a slash has to start with one")
	}
	return nil
}

// Protects says whether the cgroup at p is protected and by what. The zero and
// the nil safelist protect the root, slices and init.
func (s *Safelist) Protects(p string) (by string, protected bool) {
	p = path.Clean("/" + p)
	switch {
	case p == "/":
		return "the root", true
	case strings.HasSuffix(p, ".slice"):
		return "it is a slice", true
	case p == "/init.scope":
		return "it is init", true
	case s == nil:
		return "", false
	}
	if s.own != "" {
		own := path.Clean("/" + s.own)
		if p == own || strings.HasPrefix(own, p+"/") || (own != "/" && strings.HasPrefix(p, own+"/")) {
			return "the collector runs in " + own, true
		}
	}
	for at := p; at != "/"; at = path.Dir(at) {
		for _, pattern := range s.patterns {
			subject := at
			if !strings.Contains(pattern, "/") {
				subject = path.Base(at)
			}
			if ok, _ := path.Match(pattern, subject); ok {
				return "safelist pattern " + pattern, true
			}
		}
	}
	return "", false
}
