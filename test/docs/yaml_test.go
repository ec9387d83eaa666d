package docs

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// TestYAML reads every text in YAML. What Kubernetes is given has a Caddyfile that is valid, and
// names that fit together.
func TestYAML(t *testing.T) {
	for name, value := range environment {
		t.Setenv(name, value)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	report(t, each(readPages(t), "yaml", checkYAML))
}

func checkYAML(b *block) error {
	objects, err := readObjects(b.text)
	if err == nil && objects["StatefulSet"] != nil {
		err = checkPods(objects)
	}
	if err != nil {
		return b.problemf("%v", err)
	}
	return nil
}

// A kubernetesObject has what is held against the rest.
type kubernetesObject struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Data       map[string]string
	Spec       struct {
		ClusterIP   string `yaml:"clusterIP"`
		ServiceName string `yaml:"serviceName"`
		Ports       []struct {
			Name string
			Port int
		}
		Template struct{ Spec podSpec }
	}
}

type podSpec struct {
	Grace      int `yaml:"terminationGracePeriodSeconds"`
	Containers []struct {
		Ports []struct {
			Name          string
			ContainerPort int `yaml:"containerPort"`
		}
		ReadinessProbe struct {
			HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
		} `yaml:"readinessProbe"`
	}
	Volumes []struct {
		ConfigMap struct{ Name string } `yaml:"configMap"`
	}
}

// readObjects returns the documents of a text in YAML that are objects of Kubernetes, by their kinds.
func readObjects(text string) (map[string]*kubernetesObject, error) {
	objects := make(map[string]*kubernetesObject)
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		o := new(kubernetesObject)
		err := decoder.Decode(o)
		switch {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, err
		case o.APIVersion == "" || o.Kind == "" || o.Metadata.Name == "":
			return nil, errors.New("an object has no apiVersion, kind or name")
		}
		objects[o.Kind] = o
	}
}

// checkPods holds the pods of a stateful set against their Caddyfile and their service.
func checkPods(objects map[string]*kubernetesObject) error {
	set, service, config := objects["StatefulSet"], objects["Service"], objects["ConfigMap"]
	if service == nil || config == nil {
		return errors.New("there is no Service, or no ConfigMap")
	}
	pod := set.Spec.Template.Spec
	if len(pod.Containers) != 1 || len(pod.Containers[0].Ports) != 1 || len(pod.Volumes) != 1 || len(service.Spec.Ports) != 1 {
		return errors.New("there is not one container, port, volume of a configuration and port of the service")
	}
	container, caddyfile := pod.Containers[0], config.Data["Caddyfile"]
	adapted, err := adapt(caddyfile)
	if err != nil {
		return err
	}
	if err := validate(adapted); err != nil {
		return err
	}
	port, probe := container.Ports[0], container.ReadinessProbe.HTTPGet
	switch {
	case pod.Volumes[0].ConfigMap.Name != config.Metadata.Name:
		return errors.New("the volume is of another ConfigMap")
	case set.Spec.ServiceName != service.Metadata.Name || service.Spec.ClusterIP != "None":
		return errors.New("the stateful set names another service, or that is not headless")
	case service.Spec.Ports[0].Port != port.ContainerPort || !strings.Contains(caddyfile, fmt.Sprintf("\n:%d {", port.ContainerPort)):
		return errors.New("the service, the container and the Caddyfile have different ports")
	case probe.Path != "/health/realtime" || probe.Port != port.Name:
		return errors.New("the probe does not ask the health route")
	}
	// As "Time to stop" of docs/operations.md says.
	delay, drain := option(caddyfile, "shutdown_delay"), option(caddyfile, "drain")
	if least := delay + drain + drain/10 + 30*time.Second; time.Duration(pod.Grace)*time.Second < least {
		return fmt.Errorf("a pod gets %d s to stop, and may take %v", pod.Grace, least)
	}
	return nil
}

// option returns the duration of an option of a Caddyfile; 0 if it does not stand there.
func option(caddyfile, name string) time.Duration {
	found := regexp.MustCompile(`(?m)^\s*` + name + ` (\S+)$`).FindStringSubmatch(caddyfile)
	if found == nil {
		return 0
	}
	d, _ := time.ParseDuration(found[1]) // the Caddyfile is valid
	return d
}

// TestYAMLCanFail plants what is wrong.
func TestYAMLCanFail(t *testing.T) {
	for name, value := range environment {
		t.Setenv(name, value)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	page := readPage(t, "docs/scaling.md")
	for i := range page.blocks {
		b := page.blocks[i]
		if b.lang != "yaml" {
			continue
		}
		for _, change := range [][2]string{
			{"kind: Service\n", "kind: Service: x\n"},
			{"apiVersion: v1", "version: v1"},
			{"broker nats", "broker nuts"},
			{"port: 8080", "port: 8081"},
			{":8080 {", ":8081 {"},
			{"/health/realtime", "/health"},
			{"Seconds: 85", "Seconds: 45"},
			{"configMap: {name: realtime}", "configMap: {name: other}"},
			{"clusterIP: None", "clusterIP: 10.0.0.1"},
		} {
			bad := b
			bad.text = strings.Replace(b.text, change[0], change[1], 1)
			if bad.text == b.text || checkYAML(&bad) == nil {
				t.Errorf("%q in place of %q is found right", change[1], change[0])
			}
		}
		return
	}
	t.Error("docs/scaling.md has no YAML")
}
