{{/* A value in TOML. Numbers of values are floating: those that are whole are written so. */}}
{{- define "tidegate.toml" -}}
{{- if kindIs "map" . -}}
{ {{- $comma := " " -}}
{{- range $key, $value := . -}}
{{ $comma }}{{ include "tidegate.tomlKey" $key }} = {{ include "tidegate.toml" $value }}{{ $comma = ", " }}
{{- end }} }
{{- else if kindIs "slice" . -}}
[{{- $comma := "" -}}
{{- range . -}}
{{ $comma }}{{ include "tidegate.toml" . }}{{ $comma = ", " }}
{{- end -}}]
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else if kindIs "string" . -}}
{{ toRawJson . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{- define "tidegate.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end -}}
{{- end }}

{{/* The bootstrap file: what the chart decides, and `config` over it. */}}
{{- define "tidegate.bootstrap" -}}
{{- $ports := dict -}}
{{- range .Values.service.ports -}}
{{- if ne (int .port) (int .targetPort) }}{{ $_ := set $ports (toString .port) .targetPort }}{{ end -}}
{{- end -}}
{{- $labels := merge (dict "app" .Values.name) .Values.labels -}}
{{- $proxy := dict "name" .Values.name "namespace" .Release.Namespace "service-account" .Values.serviceAccount.name "labels" $labels -}}
{{- $sections := dict
    "proxy" $proxy
    "kubernetes" (dict "namespaces" .Values.kubernetes.namespaces "status" .Values.kubernetes.status)
    "resources" (dict "files" list "last-good" "/var/lib/tidegate/last-good")
    "listen" (dict "address" .Values.listenAddress "ports" $ports)
    "tls" (dict "certificates" "/etc/tidegate/certificates" "allow-readable-keys" true)
    "status" (dict "address" (include "tidegate.socket" (dict "Values" .Values "port" 15021)))
    "metrics" (dict "address" (include "tidegate.socket" (dict "Values" .Values "port" 15020)))
    "admin" (dict "address" "127.0.0.1:15000")
    "access-log" (dict "path" "/dev/stdout" "format" .Values.log.format)
    "drain" (dict "delay" (printf "%ds" (int .Values.drain.delay)) "timeout" (printf "%ds" (int .Values.drain.timeout)))
-}}
{{- if .Values.config.acme }}{{ $_ := set $sections "acme" (dict "secrets" true) }}{{ end -}}
{{- range $name, $section := mergeOverwrite $sections (deepCopy .Values.config) }}
[{{ $name }}]
{{- range $key, $value := $section }}
{{ include "tidegate.tomlKey" $key }} = {{ include "tidegate.toml" $value }}
{{- end }}
{{ end -}}
{{- end }}
