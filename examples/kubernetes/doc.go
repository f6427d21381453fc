// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Package kubernetes holds manifests that run Reflex as an agent on every node,
// and the test that holds them against the Kubernetes API and against what
// docs/privileges.md says. It is a module of its own, so that no collector
// pulls the Kubernetes API.
package kubernetes
