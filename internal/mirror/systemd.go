// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package mirror

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
)

// Manager is what a [Mirror] needs of a service manager.
type Manager interface {
	// Properties returns those of a unit, by name; of one that is not loaded, most are
	// at their defaults, and its ControlGroup is "".
	Properties(ctx context.Context, unit string) (map[string]any, error)
	// Set sets properties of a unit at runtime, all at once. After an error it may have
	// done so, or may do it yet.
	Set(ctx context.Context, unit string, values map[string]uint64) error
}

// Systemd is the system's manager. It talks to process 1 itself, over the socket that
// it keeps for root, so that no message bus has to be there or to be well. Every call
// connects: process 1 tells whoever stays about all that happens to any unit.
type Systemd struct{}

var _ Manager = Systemd{}

// Properties implements [Manager].
func (Systemd) Properties(ctx context.Context, unit string) (map[string]any, error) {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("reach systemd: %w", err)
	}
	defer conn.Close()
	p, err := conn.GetAllPropertiesContext(ctx, unit)
	if err != nil {
		return nil, fmt.Errorf("ask systemd about %s: %w", unit, err)
	}
	return p, nil
}

// Set implements [Manager].
func (Systemd) Set(ctx context.Context, unit string, values map[string]uint64) error {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("reach systemd: %w", err)
	}
	defer conn.Close()
	properties := make([]dbus.Property, 0, len(values))
	for name, v := range values {
		properties = append(properties, dbus.Property{Name: name, Value: godbus.MakeVariant(v)})
	}
	if err := conn.SetUnitPropertiesContext(ctx, unit, true, properties...); err != nil {
		return fmt.Errorf("tell systemd about %s: %w", unit, err)
	}
	return nil
}
